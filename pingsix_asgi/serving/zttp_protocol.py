"""uvicorn's zttp protocol, answering 400 where it would drop the connection with a traceback."""

from __future__ import annotations

from uvicorn.protocols.http.zttp_impl import ZttpProtocol


class StrictZttpProtocol(ZttpProtocol):
    """HTTP/1.1 on one connection."""

    def data_received(self, data: bytes) -> None:
        """Read on; a request line with bytes outside ASCII is refused."""
        try:
            super().data_received(data)
        except UnicodeDecodeError:
            self.handle_remote_protocol_error()
