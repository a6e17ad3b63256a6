"""uvicorn's protocols for TLS listeners: each connection's requests go to an app of its own.

uvicorn tells an app nothing about the handshake; the app made for the connection knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn

from ..types import ASGIApp

MakeApp = Callable[[Any], ASGIApp]
"""Makes the app for a connection of its ``ssl_object``."""


def use_connection_apps(config: uvicorn.Config, make_app: MakeApp) -> None:
    """Let the protocols of a loaded ``config`` serve each connection by ``make_app``'s result."""
    if config.http2:
        config.http_protocol_class = _by_alpn(make_app)
    else:
        config.http_protocol_class = _with_own_app(config.http_protocol_class, make_app)
    if config.ws_protocol_class is not None:
        config.ws_protocol_class = _with_own_app(config.ws_protocol_class, make_app)


def _with_own_app(base: type[Any], make_app: MakeApp) -> type[asyncio.Protocol]:
    class Connection(base):  # type: ignore[misc]  # which class depends on the parser
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.app = make_app(transport.get_extra_info("ssl_object"))

    return Connection


def _by_alpn(make_app: MakeApp) -> type[asyncio.Protocol]:
    from .zttp_protocol import SwitchingProtocol

    class ByALPN(SwitchingProtocol):
        http1 = _with_own_app(SwitchingProtocol.http1, make_app)
        http2 = _with_own_app(SwitchingProtocol.http2, make_app)

    return ByALPN
