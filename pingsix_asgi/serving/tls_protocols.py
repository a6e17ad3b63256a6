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
    from uvicorn.protocols.http.auto_zttp_impl import AutoZttpProtocol
    from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol
    from uvicorn.protocols.http.zttp_impl import ZttpProtocol

    classes = {
        True: _with_own_app(ZttpH2Protocol, make_app),
        False: _with_own_app(ZttpProtocol, make_app),
    }

    class ByALPN(AutoZttpProtocol):
        """HTTP/2 or HTTP/1.1, as the handshake settled."""

        def _switch(self, http2: bool, initial_data: bytes = b"") -> None:
            make: Any = classes[http2]
            protocol = make(
                config=self.config,
                server_state=self.server_state,
                app_state=self.app_state,
                _loop=self.loop,
            )
            self.transport.set_protocol(protocol)
            protocol.connection_made(self.transport)
            if initial_data:
                protocol.data_received(initial_data)

    return ByALPN
