"""Requests of TLS connections: they learn their connection's facts, and may need a certificate.

Whether a client must show a certificate depends on the path, so it is judged per request, by the
certificates in force now: one that was verified for another CA must be shown again.
Source: apisix/init.lua (verify_https_client).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from .. import __version__
from ..errors import DownstreamError
from ..http.response import error_page
from ..http.scope import read_host, read_path
from ..types import ASGIApp, Receive, Scope, Send
from .certificates import Certificates
from .facts import client_chain, tls_facts
from .listener import Handshake

logger = logging.getLogger("pingsix_asgi.tls")


class TLSGuard:
    """Stands before ``app`` on one TLS listener. ``server`` is the Server header of refusals."""

    def __init__(
        self,
        app: ASGIApp,
        certificates: Callable[[], Certificates],
        server: str = f"PingSIX/{__version__}",
    ) -> None:
        self._app, self._certificates = app, certificates
        self._server = server.encode()

    def connection(self, handshake: Handshake) -> ASGIApp:
        """Return the app for the requests of one connection."""
        chain = client_chain(handshake)
        facts = tls_facts(handshake, chain)
        app = self._app

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            scope["extensions"] = {**(scope.get("extensions") or {}), "tls": facts}
            certificates = self._certificates()
            if certificates.verify_clients:
                why = _refusal(scope, handshake, chain, certificates)
                if why:
                    logger.info("refused a request of %s: %s", scope.get("client"), why)
                    await self._refuse(scope, send)
                    return
            await app(scope, receive, send)

        return serve

    async def _refuse(self, scope: Scope, send: Send) -> None:
        """Answer 400, and close: the next connection is asked for what it should show."""
        if scope["type"] == "websocket" and "websocket.http.response" not in scope["extensions"]:
            await send({"type": "websocket.close", "code": 1008})
            return
        kind = "http" if scope["type"] == "http" else "websocket.http"
        page = error_page(400)
        headers = [
            *(page.headers or ()),
            (b"content-length", b"%d" % len(page.body)),
            (b"server", self._server),
            (b"connection", b"close"),
        ]
        body = b"" if scope.get("method") == "HEAD" else page.body
        await send({"type": f"{kind}.response.start", "status": 400, "headers": headers})
        await send({"type": f"{kind}.response.body", "body": body})


def _refusal(
    scope: Scope, handshake: Handshake, chain: tuple[str, ...], certificates: Certificates
) -> str:
    """Return why a request is not let through; "" when it is."""
    try:
        path, _ = read_path(scope)
        host = read_host(scope["headers"])
    except DownstreamError:
        return ""  # the gateway refuses it by itself
    name = handshake.name
    shown = certificates.find(name)
    if shown is not None and shown.demands_client(path):
        if not chain:
            return "no client certificate"
        if not shown.trusts(chain, handshake.certificate):
            return "the client certificate is not of the right CA, or its chain too long"
    meant = certificates.find(host) if host and host != name else None
    if meant is not None and meant.demands_client(path):
        return f"host {host} needs a client certificate, and the connection is for {name}"
    return ""
