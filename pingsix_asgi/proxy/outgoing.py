"""A request on its way to a node: its head, and what is known of its body.

A body whose first message is all of it is sent together with the head, framed by its own length,
and can be sent again. Any other is streamed by a task of its own, so that an early response is seen
at once.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from ..errors import ClientGone, DownstreamError, RequestError
from ..http.forwarding import Head
from ..http.framing import CHUNKED, UNSAID, check_absence
from ..types import Message, RawHeaders, Receive

if TYPE_CHECKING:
    from .connection import Connection
    from .exchange import Exchange

logger = logging.getLogger("pingsix_asgi.proxy")

CONTINUE_WAIT_S: Final = 1.0
"""How long a node may think about ``Expect: 100-continue`` before the body is sent anyway."""

_JOINED_BYTES: Final = 64 * 1024
"""Up to this size, copying costs less than a second write."""

_CHUNKED_FIELD: Final = b"\r\ntransfer-encoding: chunked"
_EXPECT_FIELD: Final = b"\r\nexpect: 100-continue"


class Outgoing:
    """A request: its head, what was read of its body, and how to go on."""

    __slots__ = ("_left", "_receive", "_waits", "consumed", "first", "framing", "head")

    def __init__(
        self,
        head: Head,
        framing: bytes = b"",
        first: bytes = b"",
        *,
        receive: Receive | None = None,
        left: int = 0,
        waits: bool = False,
    ) -> None:
        self.head = head
        self.framing = framing
        """The field that frames the body, with the line break before it."""
        self.first = first
        """What was read of the body already."""
        self.consumed = False
        """Some of it was passed on and is gone: the request cannot be sent again."""
        self._receive = receive
        self._left = left
        self._waits = waits

    @property
    def is_complete(self) -> bool:
        """All of it was read."""
        return self._receive is None

    def send(self, exchange: Exchange, connection: Connection, head: bytes, is_head: bool) -> None:
        """Send the head and what was read of the body; begin to stream the rest."""
        beginning = self.first
        if self._left < 0 and beginning:
            beginning = _chunk(beginning)
        if len(beginning) <= _JOINED_BYTES:
            connection.send(exchange, head + beginning, is_head)
        else:
            connection.send(exchange, head, is_head)
            connection.write(beginning)
        if self._receive is not None:
            exchange.body_read = False
            exchange.upload = asyncio.get_running_loop().create_task(
                self._upload(exchange, connection), name="pingsix: upload"
            )

    def judge(self, connection: Connection) -> None:
        """Look at the head of the answer first. Raises UpstreamProtocolError if it does not fit."""

    def replayed(self, receive: Receive) -> Receive:
        """Return a ``receive`` that gives what was read already, then the rest."""
        pending: list[Message] = [
            {"type": "http.request", "body": self.first, "more_body": not self.is_complete}
        ]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        return receive if self._waits else replay

    async def _upload(self, exchange: Exchange, connection: Connection) -> None:
        try:
            if self._waits:
                await connection.wait_for_continue(CONTINUE_WAIT_S)
            await self._pass_on(connection)
        except RequestError as error:
            exchange.fail(error)
        except Exception as error:
            logger.debug("receive failed while a body was passed on", exc_info=True)
            exchange.fail(ClientGone(f"client could not be read from: {error}"))
        else:
            exchange.body_sent()

    async def _pass_on(self, connection: Connection) -> None:
        """Read from the client and write to the node until the body ends or the node is gone."""
        receive = self._receive
        if receive is None:
            return
        left = self._left - len(self.first) if self._left >= 0 else self._left
        more = left != 0
        while more and not connection.closed:
            self.consumed = True
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone("client left while sending its request")
            more = message.get("more_body", False)
            piece = message.get("body", b"")
            if left >= 0:
                left -= len(piece)
                if left < 0 or (left and not more):
                    raise DownstreamError("body and content-length differ")
                connection.write(piece)
                more = left > 0  # some servers end with an empty message: too late for us
            elif piece:
                connection.write(_chunk(piece))
            if connection.write_paused:
                await connection.drained()
        if left < 0:
            connection.write(b"0\r\n\r\n")


async def read_outgoing(head: Head, receive: Receive, sent: RawHeaders) -> Outgoing:
    """Read the first message of a request's body, or nothing yet if the client waits for a 100.

    ``sent`` are the fields that came with it. Raises ClientGone, DownstreamError.
    """
    length = head.length
    if head.expects_continue and length != UNSAID:
        framing = _framing(length) + _EXPECT_FIELD
        return Outgoing(head, framing, receive=receive, left=length, waits=True)
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone("client left while sending its request")
    first = message.get("body", b"")
    if not message.get("more_body", False) or len(first) == length:
        if not first and length == UNSAID:
            return Outgoing(head)
        if not first:
            check_absence(sent)
        if 0 <= length != len(first):
            raise DownstreamError("body and content-length differ")
        return Outgoing(head, _framing(len(first)), first)
    if length == UNSAID:
        length = CHUNKED
    if 0 <= length < len(first):
        raise DownstreamError("body and content-length differ")
    return Outgoing(head, _framing(length), first, receive=receive, left=length)


def _framing(length: int) -> bytes:
    return _CHUNKED_FIELD if length == CHUNKED else b"\r\ncontent-length: %d" % length


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)
