"""Certificates by server name, for TLS listeners."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ..types import JSON
from .base import Model
from .fields import HostPattern, Many, Resource, Unique, is_reference, pem

Certificate: TypeAlias = Annotated[str, pem(128)]
Key: TypeAlias = Annotated[str, pem(64)]


class Client(Model):
    """What client certificates must be signed by; ``depth`` counts intermediates.

    Paths that match one of ``skip_mtls_uri_regex`` need no certificate.
    """

    ca: Certificate
    depth: Annotated[int, Field(ge=0)] = 1
    skip_mtls_uri_regex: Annotated[Unique[str], Field(min_length=1)] | None = None


class SSL(Resource):
    """A certificate (or several of different key types) for some server names.

    ``type: client`` is a certificate the gateway shows to upstreams. ``status`` 0 switches it off.
    Source: apisix/schema_def.lua.
    """

    type: Literal["server", "client"] = "server"
    cert: Certificate
    key: Key
    sni: HostPattern | None = None
    snis: Annotated[Unique[HostPattern], Field(min_length=1)] | None = None
    certs: Many[Certificate] | None = None
    keys: Many[Key] | None = None
    client: Client | None = None
    status: Literal[0, 1] = 1
    ssl_protocols: Unique[Literal["TLSv1.1", "TLSv1.2", "TLSv1.3"]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every server name, however it was given."""
        return (self.sni,) if self.sni is not None else self.snis or ()

    @property
    def has_references(self) -> bool:
        """Whether something is kept elsewhere ("$secret://…"), so that it cannot be loaded yet."""
        ca = (self.client.ca,) if self.client is not None else ()
        given = (self.cert, self.key, *(self.certs or ()), *(self.keys or ()), *ca)
        return any(map(is_reference, given))

    @classmethod
    def locked(cls, names: tuple[str, ...]) -> Self:
        """Return what stands for a resource that demands client certificates and cannot be used.

        It keeps the names, shows no certificate and trusts nobody.
        """
        client = Client.model_construct(ca="")
        return cls.model_construct(cert="", key="", snis=list(names), client=client)

    @property
    def is_locked(self) -> bool:
        """Whether handshakes for its names are to be refused."""
        return not self.cert

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.type == "server" and not self.names:
            raise ValueError('property "snis" is required')
        if self.sni is not None and self.snis is not None and self.type == "server":
            raise ValueError("only one of sni or snis is allowed")
        if len(self.certs or ()) != len(self.keys or ()):
            raise ValueError("mismatched number of certs and keys")
        return self


def guarded_names(document: JSON) -> tuple[str, ...]:
    """Return the names for which a document, valid or not, demands client certificates.

    Empty when it is switched off, or demands none.
    """
    if not isinstance(document, dict) or document.get("client") is None:
        return ()
    if document.get("type") == "client" or document.get("status") == 0:
        return ()
    snis = document.get("snis")
    given = [document.get("sni"), *(snis if isinstance(snis, list) else ())]
    return tuple(name for name in given if isinstance(name, str))
