"""uvicorn as the server of one listener; several of them share the worker's event loop.

uvicorn would handle signals and the lifespan itself, once per server. Here both belong to the
worker, which has several servers and one gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from socket import socket
from typing import TYPE_CHECKING, Literal

import uvicorn

from ..types import ASGIApp
from .options import HTTPParser
from .sockets import BACKLOG
from .tls_protocols import use_connection_apps

if TYPE_CHECKING:
    from .tls_listener import TLSListener

KEEP_ALIVE_S = 60
"""How long an idle client connection is kept. Source: nginx's and Pingora's default."""

_CLOSE = (b"connection", b"close")


def choose_parser(wanted: HTTPParser) -> Literal["httptools", "zttp"]:
    """Return the HTTP parser to use: zttp when it is installed, as docs/decisions/0010 explains."""
    if wanted != "auto":
        return wanted
    return "zttp" if find_spec("zttp") else "httptools"


def _protocol(parser: HTTPParser, http2: bool) -> type[asyncio.Protocol] | str:
    if http2:
        return "zttp"
    if choose_parser(parser) == "httptools":
        from .httptools_protocol import JoiningHttpToolsProtocol

        return JoiningHttpToolsProtocol
    from .zttp_protocol import StrictZttpProtocol

    return StrictZttpProtocol


def _websocket_protocol() -> type[asyncio.Protocol] | Literal["auto"]:
    if find_spec("websockets") is None:
        return "auto"
    from .websocket_protocol import AnsweringProtocol

    return AnsweringProtocol


class UvicornHost(uvicorn.Server):
    """One listening socket with its own app."""

    def __init__(
        self,
        app: ASGIApp,
        sock: socket,
        *,
        parser: HTTPParser = "auto",
        http2: bool = False,
        tls: TLSListener | None = None,
    ) -> None:
        """Prepare a server. HTTP/2 needs zttp."""
        super().__init__(
            uvicorn.Config(
                app,
                http=_protocol(parser, http2),
                ws=_websocket_protocol(),
                http2=http2,
                interface="asgi3",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                ssl_context_factory=(lambda *_: tls.context) if tls is not None else None,
            )
        )
        self.config.load()
        if http2:
            from .zttp_protocol import SwitchingProtocol

            self.config.http_protocol_class = SwitchingProtocol
        if tls is not None:
            use_connection_apps(self.config, tls.make_app)
        self._socket = sock
        self._ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the worker."""
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start to accept, and tell who waits for it."""
        await super().startup(sockets)
        self._ready.set()

    async def run_until_closed(self) -> None:
        """Serve until ``close`` was called and its requests have ended."""
        await self.serve(sockets=[self._socket])

    async def wait_ready(self) -> None:
        """Return once connections are accepted."""
        await self._ready.wait()

    def send_clients_away(self) -> None:
        """Let every answer from now on close its connection, so that clients find another gateway.

        Without this, a kept connection closes at the very moment its client sends a request on it.
        """
        self.config.encoded_headers = [*self.config.encoded_headers, _CLOSE]
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    def close(self, grace_s: float) -> None:
        """Stop accepting, and give the requests in flight ``grace_s`` seconds to end."""
        self.config.timeout_graceful_shutdown = grace_s  # type: ignore[assignment]  # any number does
        self.should_exit = True

    def abort(self) -> None:
        """End what is still in flight: its clients see a broken answer, never a short one."""
        for task in self.server_state.tasks:
            task.cancel()
