"""WebSocket through the gateway: a handshake with the node, then messages both ways.

Both sides end at the gateway (the server in front speaks to the client), so pings are answered on
each side, and compression is each side's own; close codes and subprotocols go through.
"""

from __future__ import annotations

import asyncio
import logging
import os
from base64 import b64encode
from collections import deque
from hashlib import sha1
from typing import TYPE_CHECKING, Final

from ..context import Context
from ..errors import DownstreamError, UpstreamError, UpstreamProtocolError
from ..http.forwarding import HOST_PART, Head
from ..http.framing import NO_BODY, TOKEN
from ..types import Message, Receive, Scope, Send
from .connection import HIGH_WATER, Connection
from .exchange import Exchange
from .outgoing import Outgoing
from .relay import relay

try:
    from websockets.frames import Frame, Opcode
    from websockets.protocol import Protocol, Side, State
except ImportError as error:  # pragma: no cover - depends on the installation
    raise ImportError("WebSocket upstreams need: pip install 'pingsix-asgi[websocket]'") from error

if TYPE_CHECKING:
    from .forward import Forward

logger = logging.getLogger("pingsix_asgi.proxy")

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Of one message from a node, as uvicorn's default for one from a client."""

_MESSAGE_COST: Final = 64
"""Bytes that a waiting message takes beside its text: many empty ones are a burden, too."""
_SLICE_BYTES: Final = 16 * 1024
"""Frames read at once: a small one is many times as large in memory as on the wire."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_NO_CODE: Final = 1005
_LOST: Final = 1011
"""What a client is told when the node is gone without a close frame: 1006 cannot be sent."""
_SENDABLE: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
_ACCEPT: Final = b"sec-websocket-accept"
_CHOSEN: Final = b"sec-websocket-protocol"
_ANSWERED: Final = frozenset({_ACCEPT, _CHOSEN, b"sec-websocket-extensions", b"content-length"})


async def bridge(forward: Forward, ctx: Context, receive: Receive, send: Send) -> None:
    """Connect the client with a node of ``forward.upstream`` and pass messages until one closes.

    A node that refuses is answered with its own refusal. Raises UpstreamError before that.
    """
    if (await receive())["type"] != "websocket.connect":
        return
    handshake = Handshake(forward.forwarding.head(ctx.request, ctx.scope), ctx.scope)
    exchange = ctx.upstream = Exchange(forward.timeouts, receive, ctx.node.pool.ticker)
    exchange.watches_client = False
    try:
        connection = await forward.ask(ctx, exchange, handshake)
        if connection is None:
            await forward.call_local(ctx, handshake.replayed(receive), send)
            return
        forward.begin_answer(ctx, exchange, connection)
        error: UpstreamError | None = None
        try:
            if connection.status == 101:
                await send(handshake.accepted(connection))
                error = await Tunnel(exchange, connection, receive, send).run()
            else:
                await _refuse(ctx, exchange, connection, send)
        except UpstreamError as failure:
            error = failure
            raise
        finally:
            forward.answered(exchange, error)
    finally:
        forward.end(exchange)


class Handshake(Outgoing):
    """The opening handshake with a node, in place of a request body."""

    __slots__ = ("_accept", "_offered")

    def __init__(self, head: Head, scope: Scope) -> None:
        key = b64encode(os.urandom(16))
        self._accept = b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
        self._offered: list[str] = list(scope.get("subprotocols") or ())
        offered = [name.encode("latin-1", "replace") for name in self._offered]
        if not all(TOKEN.fullmatch(name) for name in offered):
            raise DownstreamError("bad subprotocol")
        fields = [
            b"connection: Upgrade",
            b"upgrade: websocket",
            b"sec-websocket-version: 13",
            b"sec-websocket-key: " + key,
        ]
        if offered:
            fields.append(b"sec-websocket-protocol: " + b", ".join(offered))
        super().__init__(head, b"".join(b"\r\n" + field for field in fields))
        head.length = NO_BODY
        _drop_handshake_fields(head.parts)

    def send(self, exchange: Exchange, connection: Connection, head: bytes, is_head: bool) -> None:
        """Send the handshake."""
        connection.send(exchange, head, is_head, wants_upgrade=True)

    def replayed(self, receive: Receive) -> Receive:
        """Return a ``receive`` that begins with the client's wish to connect."""
        pending: list[Message] = [{"type": "websocket.connect"}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        return replay

    def judge(self, connection: Connection) -> None:
        """Refuse an acceptance that does not fit what was asked (RFC 6455 §4.1)."""
        if connection.status != 101:
            return
        accept = [value.strip() for name, value in connection.headers if name == _ACCEPT]
        if connection.upgraded is None or accept != [self._accept]:
            raise UpstreamProtocolError("not a valid answer to a WebSocket handshake")
        chosen = _subprotocols(connection)
        if chosen and (len(chosen) > 1 or chosen[0] not in self._offered):
            raise UpstreamProtocolError("a subprotocol was chosen that was not offered")

    def accepted(self, connection: Connection) -> Message:
        """Return the message that accepts the client as the node accepted us."""
        chosen = _subprotocols(connection)
        headers = [pair for pair in connection.headers if pair[0] not in _ANSWERED]
        return {
            "type": "websocket.accept",
            "subprotocol": chosen[0] if chosen else None,
            "headers": headers,
        }


class Tunnel:
    """Messages both ways over an accepted handshake."""

    def __init__(
        self, exchange: Exchange, connection: Connection, receive: Receive, send: Send
    ) -> None:
        self._exchange = exchange
        self._connection = connection
        self._receive = receive
        self._send = send
        self._protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=MAX_MESSAGE_BYTES)
        self._inbox: deque[str | bytes] = deque()
        """Messages of the node that the client has not taken yet."""
        self._inbox_bytes = 0
        self._fragments: list[bytes] = []
        self._is_text = False
        self._closing: Message | None = None
        self._client_left = False

    async def run(self) -> UpstreamError | None:
        """Pass messages until either side closes. Return what the node did wrong, if anything."""
        exchange, connection = self._exchange, self._connection
        connection.tunnel = self._received
        self._received(connection.upgraded or b"")
        upward = exchange.upload = asyncio.get_running_loop().create_task(
            self._pass_up(), name="pingsix: websocket messages to the node"
        )
        failure: UpstreamError | None = None
        try:
            await self._pass_down()
        except UpstreamError as error:
            failure = error
            self._closing = {"type": "websocket.close", "code": _LOST, "reason": ""}
        if self._closing is not None and not self._client_left:
            upward.cancel()  # granian does not close while a receive is pending
            await asyncio.wait((upward,))
            await self._send(self._closing)
        exchange.connection = None
        connection.close_within(exchange.timeouts.send)  # a close frame may still be on its way
        return failure

    async def _pass_down(self) -> None:
        inbox = self._inbox
        while not self._client_left:
            while inbox and not self._client_left:
                body = inbox.popleft()
                kind = "text" if isinstance(body, str) else "bytes"
                await self._send({"type": "websocket.send", kind: body})
            self._inbox_bytes = 0
            self._connection.resume_reading()
            if self._closing is not None:
                return
            if not inbox and not self._client_left:
                await self._exchange.wait("read", self._exchange.timeouts.read)

    async def _pass_up(self) -> None:
        """Pass the client's messages on until it leaves or the node is gone."""
        protocol, connection = self._protocol, self._connection
        try:
            while protocol.state is State.OPEN and not connection.closed:
                message = await self._receive()
                self._exchange.touched = True
                if protocol.state is not State.OPEN:
                    break
                if message["type"] == "websocket.disconnect":
                    self._client_left = True
                    code = message.get("code") or _NO_CODE
                    if code in _SENDABLE:
                        protocol.send_close(code, message.get("reason") or "")
                    else:
                        protocol.send_close()
                elif (text := message.get("text")) is not None:
                    protocol.send_text(text.encode())
                else:
                    protocol.send_binary(message["bytes"])
                self._flush()
                if connection.write_paused:
                    await connection.drained()
        except Exception:
            logger.warning("a WebSocket message could not be passed on", exc_info=True)
            self._client_left = True
        if self._client_left:
            self._exchange.wake()

    def _received(self, data: bytes | None) -> None:
        """Take bytes from the node, or None when it has closed the connection."""
        protocol = self._protocol
        if data is None:
            protocol.receive_eof()
        else:
            for start in range(0, len(data), _SLICE_BYTES):
                protocol.receive_data(data[start : start + _SLICE_BYTES])
                self._take_all()
        self._take_all()
        self._answer()
        if self._closing is None and (data is None or protocol.parser_exc is not None):
            sent = protocol.close_sent
            code = _LOST if sent is None else sent.code
            self._closing = {"type": "websocket.close", "code": code, "reason": ""}
        if self._inbox_bytes > HIGH_WATER:
            self._connection.pause_reading()
        if self._inbox or self._closing is not None:
            self._exchange.wake()

    def _take_all(self) -> None:
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame):
                self._take(frame)

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            close = self._protocol.close_rcvd
            code = _NO_CODE if close is None else int(close.code)
            reason = "" if close is None else close.reason
            self._closing = {
                "type": "websocket.close",
                "code": 1000 if code == _NO_CODE else code,
                "reason": reason,
            }
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            if frame.data:
                self._fragments.append(bytes(frame.data))
            if frame.fin:
                self._deliver(b"".join(self._fragments))
                self._fragments.clear()

    def _deliver(self, body: bytes) -> None:
        if not self._is_text:
            self._inbox.append(body)
        else:
            try:
                text = body.decode()
            except UnicodeDecodeError:
                self._protocol.fail(1007, "text is not UTF-8")
                self._closing = {"type": "websocket.close", "code": 1007, "reason": ""}
                return
            self._inbox.append(text)
        self._inbox_bytes += len(body) + _MESSAGE_COST

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._connection.write(data)

    def _answer(self) -> None:
        """Write what bytes of the node gave rise to, but no pongs to one that does not read."""
        if self._connection.write_paused and self._protocol.state is State.OPEN:
            self._protocol.data_to_send()
        else:
            self._flush()


async def _refuse(ctx: Context, exchange: Exchange, connection: Connection, send: Send) -> None:
    """Give the node's refusal to the client, as far as the server in front can."""
    if "websocket.http.response" in (ctx.scope.get("extensions") or ()):
        await relay(exchange, connection, send, prefix="websocket.http")
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})


def _subprotocols(connection: Connection) -> list[str]:
    """Return what the node chose: one at most, if it keeps to the protocol."""
    return [
        value.decode("latin-1").strip() for name, value in connection.headers if name == _CHOSEN
    ]


def _drop_handshake_fields(parts: list[bytes]) -> None:
    """Drop the client's own handshake: it was with the server in front."""
    for index in range(len(parts) - 2, HOST_PART, -2):
        if parts[index].startswith(b"\r\nsec-websocket-"):
            del parts[index : index + 2]
