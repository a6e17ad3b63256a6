"""One request's dealings with its upstream: what it waits for, and what was measured.

Only the request's own task awaits; everything else (connection, ticker, upload, disconnect watch)
tells it what happened through ``wake`` and ``fail``.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from ..errors import ClientGone, RequestError, UpstreamTimeout
from ..types import Receive
from ..upstream.node import Node, Timeouts

if TYPE_CHECKING:
    from .connection import Connection
    from .ticker import Ticker

logger = logging.getLogger("pingsix_asgi.proxy")

NEVER: Final = float("inf")


class Exchange:
    """What one request and its upstream do together; kept in ``ctx.upstream``."""

    __slots__ = (
        "_pending",
        "_receive",
        "_seen",
        "_step",
        "_ticker",
        "_watch",
        "asked",
        "body_read",
        "bytes_in",
        "connect_s",
        "connection",
        "deadline",
        "error",
        "failures",
        "header_s",
        "loop",
        "node",
        "response_s",
        "started",
        "status",
        "timeouts",
        "touched",
        "upload",
        "waiter",
        "watches_client",
    )

    def __init__(self, timeouts: Timeouts, receive: Receive, ticker: Ticker) -> None:
        """Begin; ``end`` takes it away from the ticker again."""
        self.status = 0
        """The upstream's final status; 0 while there is none."""
        self.connect_s = 0.0
        """Seconds that the last attempt took to connect; 0 for a reused connection."""
        self.header_s = 0.0
        """Seconds from the start to the response head; 0 while there is none."""
        self.response_s = 0.0
        """Seconds from the start to the last byte of the response, or to the failure."""
        self.node = ""
        """"ip:port" of the node that answered; "" while none has."""
        self.failures: list[tuple[str, int]] | None = None
        """"ip:port" of each node that failed before, with 502 or 504."""
        self.bytes_in = 0
        """Bytes received from upstreams, heads included."""
        self.started = monotonic()
        self.timeouts = timeouts
        self.asked: Node | None = None
        """The node that was sent the request and is not finished with it."""
        self.connection: Connection | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.error: RequestError | None = None
        self.deadline = NEVER
        self.touched = False
        """Something was received since the last tick."""
        self.body_read = True
        """The client's body was read to its end, so reading on tells whether it left."""
        self.watches_client = True
        """Reading from a client that has nothing to say tells when it leaves."""
        self.upload: asyncio.Task[None] | None = None
        self.loop = ticker.add(self)
        self._step = "read"
        self._pending = 0
        self._receive = receive
        self._seen = False
        self._ticker = ticker
        self._watch: asyncio.Task[None] | None = None

    @property
    def addr(self) -> list[str]:
        """ "ip:port" of each node tried, in order."""
        failed = [name for name, _ in self.failures or ()]
        return [*failed, self.node] if self.node else failed

    @property
    def statuses(self) -> list[int]:
        """What each node gave: its status, or 502 or 504 for a failure."""
        failed = [status for _, status in self.failures or ()]
        return [*failed, self.status] if self.node else failed

    def failed(self, node: str, status: int) -> None:
        """Note that a node was tried in vain."""
        if self.failures is None:
            self.failures = []
        self.failures.append((node, status))

    def wait(self, step: str, seconds: float) -> asyncio.Future[None]:
        """Return a future that is done when woken, or has what ``fail`` was given.

        It times out after about ``seconds`` without progress.
        """
        waiter = self.waiter = self.loop.create_future()
        if self.error is not None:
            waiter.set_exception(self.error)
        else:
            self._step = step
            self.deadline = monotonic() + seconds
        return waiter

    def body_sent(self) -> None:
        """Note that the client's body was read and passed on: now it is the node's turn."""
        self.body_read = True
        self.deadline = monotonic() + self.timeouts.read

    def wake(self) -> None:
        """Let the request's task go on."""
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, error: RequestError) -> None:
        """End the exchange: the connection is closed, and whoever waits gets ``error``."""
        if self.error is None:
            self.error = error
        if self.connection is not None:
            self.connection.abort()
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(self.error)
            waiter.exception()  # it is not lost if the request is cancelled right now

    @property
    def is_waiting(self) -> bool:
        """The request's task waits for something to happen."""
        return self.waiter is not None and not self.waiter.done()

    def tick(self, now: float, enforce: bool) -> None:
        """Look after deadline and client, ten times a second."""
        self._follow_progress(now)
        if enforce and now >= self.deadline and self.is_waiting:
            self.fail(UpstreamTimeout(self._step))
        elif self._seen and self._watch is None and self.watches_client and self.body_read:
            self._watch = self.loop.create_task(
                self._watch_client(), name="pingsix: is the client there"
            )
        self._seen = True

    def _follow_progress(self, now: float) -> None:
        """Move the deadline on while bytes move: timeouts count inactivity, not totals."""
        connection = self.connection
        if connection is None:
            return
        if connection.write_paused:
            pending = connection.unsent()
            if self._step != "send" or pending != self._pending:
                self._step, self._pending = "send", pending
                self.deadline = now + self.timeouts.send
        elif not self.body_read:
            self._step, self.deadline = "send", NEVER  # it is the client we wait for
        elif self.touched or self._step != "read":
            self.touched, self._step = False, "read"
            self.deadline = now + self.timeouts.read

    async def _watch_client(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except Exception:
            logger.debug("receive failed while a response was awaited", exc_info=True)
        self.fail(ClientGone("client left before it got its answer"))

    def end(self) -> None:
        """Stop what still runs on behalf of the exchange; close a connection that is left."""
        self._ticker.busy.discard(self)
        if self._watch is not None:
            self._watch.cancel()
        if self.upload is not None:
            self.upload.cancel()
        if self.connection is not None:
            self.connection.abort()
            self.connection = None

    def start_over(self) -> None:
        """Get ready for another attempt."""
        if self.upload is not None:
            self.upload.cancel()
            self.upload = None
            self.body_read = True
        if self.connection is not None:
            self.connection.abort()
        self.error = self.connection = None
