"""uvicorn's zttp protocols, with what they lack put right."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import zttp
from uvicorn.protocols.http.auto_zttp_impl import AutoZttpProtocol
from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol
from uvicorn.protocols.http.zttp_impl import ZttpProtocol

from .joining_transport import Joining


class StrictZttpProtocol(Joining, ZttpProtocol):  # type: ignore[misc]  # asyncio has it wider
    """HTTP/1.1, answering 400 where uvicorn would drop the connection with a traceback."""

    def data_received(self, data: bytes) -> None:
        """Read on; a request line with bytes outside ASCII is refused."""
        try:
            super().data_received(data)
        except UnicodeDecodeError:
            self.handle_remote_protocol_error()


class EndingZttpH2Protocol(ZttpH2Protocol):
    """HTTP/2 whose requests without a body end: uvicorn 0.54 leaves the app waiting for one."""

    def handle_request(self, event: zttp.Request) -> None:
        """Begin a request; END_STREAM on its HEADERS frame is the end of it."""
        super().handle_request(event)
        cycle = self.cycles.get(event.stream_id)
        if event.end_stream and cycle is not None:
            cycle.more_body = False
            cycle.message_event.set()


class SwitchingProtocol(AutoZttpProtocol):
    """HTTP/2 or HTTP/1.1, as the handshake settled or the first bytes tell."""

    http1: ClassVar[type[asyncio.Protocol]] = StrictZttpProtocol
    http2: ClassVar[type[asyncio.Protocol]] = EndingZttpH2Protocol

    def _switch(self, http2: bool, initial_data: bytes = b"") -> None:
        make: Any = self.http2 if http2 else self.http1
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
