"""TLS contexts for connections to nodes, shared by equal options."""

from __future__ import annotations

import ssl
import tempfile
from weakref import WeakValueDictionary

from ..errors import SchemaError
from ..upstream.node import TLSOptions

_contexts: WeakValueDictionary[TLSOptions, ssl.SSLContext] = WeakValueDictionary()
"""A memo of a pure function: reading the trusted authorities takes longer than a handshake."""


def client_context(options: TLSOptions) -> ssl.SSLContext:
    """Return the context for ``options``. Raises SchemaError for unusable certificates or keys."""
    context = _contexts.get(options)
    if context is None:
        try:
            context = _contexts[options] = _make(options)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SchemaError(
                f"unusable certificate, key or CA file: {error}", path="tls"
            ) from error
    return context


def _make(options: TLSOptions) -> ssl.SSLContext:
    if options.verify:
        context = ssl.create_default_context(cafile=options.ca_file)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if options.client_cert is not None and options.client_key is not None:
        # the ssl module reads certificates from files only; the file is readable by us alone
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(f"{options.client_key}\n{options.client_cert}")
            file.flush()
            context.load_cert_chain(file.name, password="")  # never ask on a terminal
    return context
