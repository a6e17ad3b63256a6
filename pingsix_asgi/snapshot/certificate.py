"""The certificate an upstream shows to its nodes, when a resource of ``ssls`` holds it."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ReferenceMissing, SchemaError
from ..model.base import Model
from ..model.route import Route
from ..model.service import Service
from ..model.ssl import SSL
from ..model.upstream import Upstream
from .parts import Part


def certificate_id(model: Model) -> str | None:
    """Return the id of the resource whose certificate a model's upstream shows."""
    upstream = model.upstream if isinstance(model, Route | Service) else model
    tls = upstream.tls if isinstance(upstream, Upstream) else None
    return tls.client_cert_id if tls is not None else None


def with_certificate(upstream: Upstream, ssls: Mapping[str, Part]) -> Upstream:
    """Return the model with the certificate it names in its place.

    Raises ReferenceMissing when it is not there, or not one to show to upstreams.
    """
    id = certificate_id(upstream)
    if id is None or upstream.tls is None:
        return upstream
    ssl = ssls[id].model if id in ssls else None
    if not isinstance(ssl, SSL) or ssl.type != "client":
        raise ReferenceMissing(f"no certificate to show to upstreams in ssls/{id}")
    pair = {"client_cert": ssl.cert, "client_key": ssl.key, "client_cert_id": None}
    return upstream.model_copy(update={"tls": upstream.tls.model_copy(update=pair)})


def refuse_named(upstream: Upstream) -> None:
    """Refuse a named certificate inside a plugin, which is not made anew when it changes.

    Raises SchemaError.
    """
    if certificate_id(upstream) is not None:
        text = "not supported in plugins: give client_cert and client_key, or an upstream_id"
        raise SchemaError(
            f'property "client_cert_id" validation failed: {text}', path="tls.client_cert_id"
        )
