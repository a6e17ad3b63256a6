"""granian as the server of the data plane: the fastest host for small requests without a body.

It cannot change certificates while it runs and sends no trailers; see docs/decisions/0010.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from socket import socket
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.server.embed import Server

from ..types import ASGIApp
from .options import Listener
from .sockets import BACKLOG

logger = logging.getLogger("pingsix_asgi.serving")


class _OnSocket(Server):
    """granian's embeddable server on a socket that is bound already."""

    def __init__(self, sock: socket, app: ASGIApp, listener: Listener) -> None:
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            http=HTTPModes.auto if listener.http2 else HTTPModes.http1,
            log_enabled=False,
            backlog=BACKLOG,
            ssl_protocol_min=SSLProtocols.tls12,
            ssl_cert=Path(listener.cert_path) if listener.cert_path else None,
            ssl_key=Path(listener.key_path) if listener.key_path else None,
        )
        self._socket = sock
        self.is_up = asyncio.Event()

    def _init_shared_socket(self) -> None:
        # Untyped there: made for handing sockets to worker processes.
        self._shd: Any = SocketHolder(self._socket.fileno(), False, BACKLOG)  # type: ignore[call-arg]
        self.is_up.set()


class GranianHost:
    """One listening socket served by granian on the worker's event loop."""

    def __init__(self, app: ASGIApp, sock: socket, listener: Listener) -> None:
        self._server = _OnSocket(sock, app, listener)
        self._serving: asyncio.Task[None] | None = None
        self._kill: asyncio.TimerHandle | None = None

    async def run_until_closed(self) -> None:
        """Serve until ``close`` was called and its requests have ended."""
        self._serving = asyncio.ensure_future(self._server.serve())
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._serving)
        finally:
            if self._kill is not None:
                self._kill.cancel()

    async def wait_ready(self) -> None:
        """Return once connections are accepted."""
        await self._server.is_up.wait()

    def send_clients_away(self) -> None:
        """Do nothing: granian says goodbye on its connections when it closes."""

    def close(self, grace_s: float) -> None:
        """Stop accepting, and give the requests in flight ``grace_s`` seconds to end."""
        self._server.stop()  # type: ignore[no-untyped-call]
        self._kill = asyncio.get_running_loop().call_later(grace_s, self.abort)

    def abort(self) -> None:
        """End what is still in flight."""
        if self._serving is not None:
            self._serving.cancel()
