"""uvicorn's WebSocket protocol, with what it lacks put right."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class AnsweringProtocol(WebSocketsSansIOProtocol):
    """Knows that a refusal with a page completes a handshake.

    uvicorn 0.54 takes each for an app that returned without one, and logs an error.
    """

    async def send(self, message: Any) -> None:
        """Send a message of the app."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True
