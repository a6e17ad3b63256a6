"""The context of a TLS listener: each connection gets the certificate its server name asks for.

Python's hook for server names comes too late to change who must show a certificate or which
versions are spoken, and it lets a session begun under one name go on under another. So the name is
read from the first bytes, and the handshake begins in the right context.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Any

from .certificates import Certificate, Certificates
from .client_hello import Incomplete, read_server_name
from .contexts import base_context, load_pair, refuse_name


class ListenerContext(ssl.SSLContext):
    """What asyncio and uvloop take as a listener's context; only ``wrap_bio`` may be used.

    Make one with ``listener_context``.
    """

    certificates: Callable[[], Certificates]
    fallback: ssl.SSLContext
    fallback_sni: str | None
    own_cert: str | None

    def wrap_bio(  # type: ignore[override]  # what it returns stands for an SSLObject made later
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> Handshake:
        """Return a connection whose context is chosen when its first bytes are there."""
        return Handshake(self, incoming, outgoing)


class Handshake:
    """An ``ssl.SSLObject`` that is made once the client has named its server."""

    def __init__(
        self, listener: ListenerContext, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        self._listener = listener
        self._incoming, self._outgoing = incoming, outgoing
        self._made: Any = None
        self.server_name: str | None = None
        """The name the client asked for; None for none."""
        self.certificate: Certificate | None = None
        """The resource that was chosen; None for the listener's own certificate."""

    @property
    def name(self) -> str | None:
        """The name the certificate was chosen by."""
        return self.server_name or self._listener.fallback_sni

    @property
    def server_cert(self) -> str | None:
        """The certificate that was shown, PEM."""
        found = self.certificate
        return self._listener.own_cert if found is None else found.resource.cert

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises SSLWantReadError until the client has sent enough."""
        if self._made is None:
            self._made = self._choose().wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._made.do_handshake()

    def read(self, *arguments: Any) -> Any:
        """Read decrypted bytes."""
        return self._made.read(*arguments)

    def write(self, data: bytes) -> int:
        """Write bytes to be encrypted."""
        written: int = self._made.write(data)
        return written

    def pending(self) -> int:
        """Return how many decrypted bytes can be read at once."""
        count: int = self._made.pending()
        return count

    def unwrap(self) -> None:
        """Say goodbye. A connection without a handshake has nothing to say."""
        if self._made is not None:
            self._made.unwrap()

    def __getattr__(self, name: str) -> Any:
        """Answer as the SSLObject, for everything else servers ask."""
        return getattr(self._made, name)

    def _choose(self) -> ssl.SSLContext:
        hello = self._incoming.read()
        if self._incoming.eof:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the client left before its hello")
        self._incoming.write(hello)
        try:
            self.server_name = read_server_name(hello)
        except Incomplete:
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "hello incomplete") from None
        listener = self._listener
        found = listener.certificates().find(self.name)
        self.certificate = found
        return listener.fallback if found is None else found.context


def listener_context(
    current: Callable[[], Certificates],
    alpn: Sequence[str],
    *,
    own: tuple[str, str] | None = None,
    fallback_sni: str | None = None,
) -> ListenerContext:
    """Return the context of a listener; every handshake asks ``current()`` for its certificate.

    ``own`` is the listener's certificate and key (PEM text) for names nothing matches; without it
    such a handshake fails with "unrecognized name". ``fallback_sni`` is the name assumed when the
    client sends none. Raises SchemaError when ``own`` does not load.
    """
    context = ListenerContext(ssl.PROTOCOL_TLS_SERVER)
    context.certificates = current
    context.fallback_sni = fallback_sni
    context.fallback = base_context(alpn)
    context.own_cert = own[0] if own is not None else None
    if own is not None:
        load_pair(context.fallback, *own, "tls.cert_path")
    else:
        context.fallback.sni_callback = refuse_name
    return context
