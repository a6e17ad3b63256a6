"""An answer that did not arrive in one piece, passed on as it comes."""

from __future__ import annotations

from ..types import Message, Send
from .connection import Connection
from .exchange import Exchange


async def relay(
    exchange: Exchange,
    connection: Connection,
    send: Send,
    *,
    offers_trailers: bool = False,
    prefix: str = "http",
) -> None:
    """Send the answer on ``connection`` until it is complete, no faster than the client takes it.

    Trailers are passed on where the server offers it. Raises UpstreamError when the answer breaks
    off: the client must not take a part for the whole. ``prefix`` is that of the message types.
    """
    start: Message = {
        "type": f"{prefix}.response.start",
        "status": connection.status,
        "headers": connection.headers,
    }
    gives_trailers = offers_trailers and bool(connection.announces_trailers or connection.trailers)
    if gives_trailers:
        start["trailers"] = True
    body_type = f"{prefix}.response.body"
    await send(start)
    read_s = exchange.timeouts.read
    while True:
        is_complete = connection.complete
        body = connection.take()
        if body or is_complete:
            await send({"type": body_type, "body": body, "more_body": not is_complete})
        if is_complete:
            break
        if not connection.pieces and not connection.complete:
            await exchange.wait("read", read_s)
    if gives_trailers:
        headers = connection.passable_trailers()
        await send({"type": "http.response.trailers", "headers": headers, "more_trailers": False})
