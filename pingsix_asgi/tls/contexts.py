"""An ``ssls`` resource as contexts of Python's ssl module.

A context reads certificates from files only, so PEM text passes through a private temporary file
that is gone before the context is used.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Sequence

from ..errors import SchemaError
from ..model.ssl import SSL


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
    pairs = [("cert", resource.cert, resource.key)]
    more = zip(resource.certs or (), resource.keys or (), strict=True)
    pairs += [(f"certs.{index}", cert, key) for index, (cert, key) in enumerate(more)]
    for path, cert, key in pairs:
        load_pair(context, cert, key, path)
    if resource.client is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(cadata=resource.client.ca)
        except (ssl.SSLError, ValueError) as error:
            raise SchemaError(f"not a CA certificate: {error}", path="client.ca") from None
    return context


def load_pair(context: ssl.SSLContext, cert: str, key: str, path: str = "cert") -> None:
    """Load a certificate chain and its key from PEM text. Raises SchemaError."""
    descriptor, name = tempfile.mkstemp(prefix="pingsix-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", errors="replace") as file:
            file.write(f"{cert.strip()}\n{key.strip()}\n")
        context.load_cert_chain(name, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise SchemaError(f"failed to parse cert or key: {reason}", path=path) from None
    finally:
        os.unlink(name)


def _no_password() -> str:
    raise ValueError("the key is protected by a password")
