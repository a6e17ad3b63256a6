"""An ``ssls`` resource as contexts of Python's ssl module.

A context reads certificates from files only, so PEM text passes through a private temporary file
that is gone before the context is used.
"""

from __future__ import annotations

import os
import re
import ssl
import tempfile
from collections.abc import Iterator, Sequence

from ..errors import SchemaError
from ..model.ssl import SSL
from ..model.upstream import Upstream

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
"""What can be spoken: OpenSSL 3 refuses older versions as insecure."""
_BAD_CERT = "failed to parse cert: PEM_read_bio_X509_AUX() failed"
_BAD_KEY = "failed to parse key: PEM_read_bio_PrivateKey() failed"
_NO_KEY = "failed to decrypt previous encrypted key"
"""Of what is no PEM at all, which APISIX takes for a key encrypted by itself."""


def base_context(alpn: Sequence[str]) -> ssl.SSLContext:
    """Return a server context without a certificate, for TLS 1.2 and 1.3 and these ALPN names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(alpn))
    return context


def server_context(resource: SSL, alpn: Sequence[str]) -> ssl.SSLContext:
    """Return the context that shows the resource's certificates, one per key type.

    Client certificates are asked for, not demanded, when ``client`` is set: whether a request
    needs one depends on its path. Raises SchemaError naming the field that does not load.
    """
    context = base_context(alpn)
    if resource.ssl_protocols is not None:
        _limit_versions(context, resource.ssl_protocols)
    for path, cert, key in _pairs(resource):
        load_pair(context, cert, key, path)
    if resource.client is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0  # a resumed session no longer knows how its client was verified
        context.options |= ssl.OP_NO_TICKET
        try:
            context.load_verify_locations(cadata=resource.client.ca)
        except (ssl.SSLError, ValueError):
            text = f"failed to validate client_cert: {_BAD_CERT}"
            raise SchemaError(text, path="client.ca") from None
    return context


def locked_context(resource: SSL, alpn: Sequence[str]) -> ssl.SSLContext:
    """Return the context of a resource that is locked: every handshake fails."""
    context = base_context(alpn)
    context.sni_callback = refuse_name
    return context


def refuse_name(handshake: object, name: str | None, context: ssl.SSLContext) -> int:
    """Fail a handshake with "unrecognized name"; to be a context's ``sni_callback``."""
    return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


def skip_patterns(resource: SSL) -> tuple[re.Pattern[str], ...]:
    """Return the patterns of paths that need no client certificate. Raises SchemaError."""
    found = []
    client = resource.client
    for index, text in enumerate((client.skip_mtls_uri_regex or ()) if client else ()):
        try:
            found.append(re.compile(text))
        except re.error as error:
            path = f"client.skip_mtls_uri_regex.{index}"
            raise SchemaError(f"not a regular expression: {error}", path=path) from None
    return tuple(found)


def check_ssl(resource: SSL) -> None:
    """Load everything a resource holds, keeping nothing. Raises SchemaError naming the field."""
    if resource.type == "server":
        server_context(resource, ())
        skip_patterns(resource)
        return
    for path, cert, key in _pairs(resource):
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), cert, key, path)


def check_client_pair(upstream: Upstream) -> None:
    """Load what an upstream shows to its nodes. Raises SchemaError naming the field."""
    tls = upstream.tls
    if tls is None or tls.client_cert is None or tls.client_key is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_pair(context, tls.client_cert, tls.client_key, "tls.client_cert")


def load_pair(context: ssl.SSLContext, cert: str, key: str, path: str = "cert") -> None:
    """Load a certificate chain and its key from PEM text. Raises SchemaError."""
    descriptor, name = tempfile.mkstemp(prefix="pingsix-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", errors="replace") as file:
            file.write(f"{cert.strip()}\n{key.strip()}\n")
        context.load_cert_chain(name, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise SchemaError(_lead(path) + _fault(error, cert, key), path=path) from None
    finally:
        os.unlink(name)


def _lead(path: str) -> str:
    """Return how a fault of a further pair is introduced."""
    _, _, index = path.partition("certs.")
    return f"failed to handle cert-key pair[{int(index) + 1}]: " if index else ""


def _fault(error: Exception, cert: str, key: str) -> str:
    """Tell what of a pair does not load, in APISIX's words, which are OpenSSL's."""
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return "failed to parse key: it does not belong to the certificate"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=cert)
    except (ssl.SSLError, ValueError):
        return _BAD_CERT
    return _BAD_KEY if key.lstrip().startswith("---") else _NO_KEY


def _pairs(resource: SSL) -> Iterator[tuple[str, str, str]]:
    yield "cert", resource.cert, resource.key
    more = zip(resource.certs or (), resource.keys or (), strict=True)
    for index, (cert, key) in enumerate(more):
        yield f"certs.{index}", cert, key


def _limit_versions(context: ssl.SSLContext, names: Sequence[str]) -> None:
    versions = [version for name, version in _VERSIONS.items() if name in names]
    if not versions:
        text = f"none of {', '.join(names)} can be spoken, only {', '.join(_VERSIONS)}"
        raise SchemaError(text, path="ssl_protocols")
    context.minimum_version, context.maximum_version = versions[0], versions[-1]


def _no_password() -> str:
    raise ValueError("the key is protected by a password")
