"""One HTTP/1.1 connection to a node: the asyncio end of a ResponseReader.

It never buffers much in either direction, and closes itself when the node breaks the protocol or
sends what nobody asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from ..errors import UpstreamProtocolError
from .reader import ResponseReader

if TYPE_CHECKING:
    from .exchange import Exchange
    from .pool import Pool

HIGH_WATER: Final = 64 * 1024
"""Body bytes kept for a client that is slower than the node; then reading pauses."""


class Connection(ResponseReader, asyncio.Protocol):
    """Carries one exchange at a time; ``Pool`` owns it."""

    __slots__ = (
        "_drained",
        "_ending",
        "_gate",
        "_is_paused",
        "_pool",
        "_size",
        "_transport",
        "closed",
        "exchange",
        "idle_since",
        "requests",
        "tunnel",
        "write_paused",
    )

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self._transport: asyncio.Transport
        self._drained: asyncio.Future[None] | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._gate: asyncio.Future[None] | None = None
        self._is_paused = False
        self._size = 0
        self.exchange: Exchange | None = None
        """What the connection is busy with; None while it is idle."""
        self.tunnel: Callable[[bytes | None], None] | None = None
        """Takes what arrives after an upgrade, and None when the node has closed."""
        self.closed = False
        self.write_paused = False
        self.requests = 0
        self.idle_since = 0.0

    # -- what the exchange asks for

    def send(
        self, exchange: Exchange, head: bytes, is_head: bool, wants_upgrade: bool = False
    ) -> None:
        """Begin an exchange by writing ``head`` and what is known of the body."""
        if is_head or wants_upgrade:
            self.expect(is_head, wants_upgrade)
        elif self.requests:
            self.expect_another()
        self.requests += 1
        self._size = 0
        self.exchange = exchange
        self._transport.write(head)

    def write(self, data: bytes) -> None:
        """Write more of the request; nothing happens once the node is gone."""
        if not self.closed:
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the node has taken most of what was written, or is gone."""
        while self.write_paused and not self.closed:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    async def wait_for_continue(self, seconds: float) -> None:
        """Wait for 100 Continue, but not long: not every node sends it (RFC 9110 §10.1.1)."""
        if not self.continued:
            self._gate = asyncio.get_running_loop().create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._gate

    def unsent(self) -> int:
        """Return how many written bytes the node has not taken yet."""
        return self._transport.get_write_buffer_size()

    def take(self) -> bytes:
        """Return the body bytes that have arrived, and let more come."""
        pieces = self.pieces
        if not pieces:
            return b""
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = 0
        if self._is_paused:
            self.resume_reading()
        return body

    def pause_reading(self) -> None:
        """Let the node wait."""
        if not self._is_paused and not self.closed:
            self._is_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Let the node send on."""
        if self._is_paused:
            self._is_paused = False
            if not self.closed:
                self._transport.resume_reading()

    def close(self) -> None:
        """Close; what the node has not taken by now it does not get: it may never read again."""
        if not self.closed:
            if self.unsent():
                self.abort()
            else:
                self._close()

    def close_within(self, seconds: float) -> None:
        """Close once the node has taken what is written, at the latest after ``seconds``."""
        if not self.closed:
            self._close()
            self._ending = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def _close(self) -> None:
        self.closed = True
        self.exchange = None
        self._transport.close()

    def abort(self) -> None:
        """Close at once, dropping what is written."""
        self._transport.abort()
        if not self.closed:
            self.closed = True
            self.exchange = None
            self._wake_writer()

    # -- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.close()  # nobody asked for anything
            return
        exchange.touched = True
        exchange.bytes_in += len(data)
        if self.tunnel is not None:
            self.tunnel(data)
            return
        try:
            self.feed(data)
        except UpstreamProtocolError as error:
            exchange.fail(error)
            return
        if self.ready:
            self._size += len(data)
            waiter = exchange.waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
            elif self._size > HIGH_WATER and not self.complete:
                self.pause_reading()
        elif self.continued and self._gate is not None and not self._gate.done():
            self._gate.set_result(None)

    def eof_received(self) -> None:
        if self.exchange is None:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self.exchange
        self.closed = True
        self._wake_writer()
        self._pool.lost(self)
        if self._ending is not None:
            self._ending.cancel()
        if exchange is None:
            return
        self.exchange = None
        if self.tunnel is not None:
            self.tunnel(None)
        elif self.complete:
            pass
        elif exc is None and self.end_of_stream():
            exchange.wake()
        else:
            exchange.fail(UpstreamProtocolError(f"upstream closed too early: {exc or 'EOF'}"))

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "idle" if self.exchange is None else "busy"
        return f"Connection({state}, {self.requests} requests)"
