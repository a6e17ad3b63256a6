"""Connections to one endpoint: last in, first out, bounded in number, age and use.

Taking an idle connection is synchronous and costs no search: one that closes or says something
while idle leaves the pool at that moment, so what is in it is believed to be alive.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Final, NamedTuple

from ..errors import ConnectError, UpstreamError, UpstreamTimeout
from ..upstream.node import PoolKey
from .connection import Connection
from .exchange import NEVER, Exchange
from .ticker import Ticker
from .tls import client_context

logger = logging.getLogger("pingsix_asgi.proxy")

_CLOSE_GRACE_S: Final = 1.0
"""How long ``aclose`` waits for connections to end; TLS says goodbye first."""


class PoolStatistics(NamedTuple):
    """What a pool holds at one moment."""

    idle: int
    busy: int
    connecting: int
    waiting: int


class Waiting:
    """A request that waits for a connection."""

    __slots__ = ("_waiter", "connection", "error", "timeout_s")

    def __init__(self, waiter: asyncio.Future[None], timeout_s: float) -> None:
        self._waiter = waiter
        self.timeout_s = timeout_s
        self.connection: Connection | None = None
        self.error: UpstreamError | None = None

    @property
    def is_over(self) -> bool:
        """The request got what it waited for, or gave up."""
        return self._waiter.done()

    def settle(self, outcome: Connection | UpstreamError) -> None:
        """Give the request its connection, or the reason why there is none."""
        if self._waiter.done():
            return
        if isinstance(outcome, UpstreamError):
            self.error = outcome
        else:
            self.connection = outcome
        self._waiter.set_result(None)


class Pool:
    """Connections that are interchangeable for ``key``, used from one event loop at a time.

    ``max_connections`` bounds idle, busy and connecting ones together (default: no bound); who
    comes later waits for a place until the connect timeout. Raises SchemaError for unusable TLS
    options. Equal pools may share a ``ticker``.
    """

    __slots__ = (
        "__weakref__",
        "_connecting",
        "_emptied",
        "_idle",
        "_loop",
        "_max",
        "_max_idle",
        "_max_requests",
        "_open",
        "_retired",
        "_ssl",
        "_sweeper",
        "_waiting",
        "key",
        "ticker",
    )

    def __init__(
        self, key: PoolKey, *, max_connections: int | None = None, ticker: Ticker | None = None
    ) -> None:
        self.key = key
        self.ticker = ticker if ticker is not None else Ticker()
        self._max = max_connections
        self._max_requests = key.keepalive.max_requests
        self._max_idle = key.keepalive.size
        self._ssl = None if key.tls is None else client_context(key.tls)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting: dict[asyncio.Task[Connection], Waiting] = {}
        self._waiting: deque[Waiting] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._retired = False

    def take(self, loop: asyncio.AbstractEventLoop) -> Connection | None:
        """Return the connection that became idle last, or None: then ``connect``."""
        if loop is not self._loop:
            self._bind(loop)
        return self._idle.pop() if self._idle else None

    async def connect(self, exchange: Exchange, timeout_s: float) -> Connection:
        """Return a new connection, or one that becomes idle meanwhile.

        Raises ConnectError, UpstreamTimeout("connect"), and what ``exchange`` is failed with.
        """
        has_room = self._has_room()
        waiter = exchange.wait("connect", NEVER if has_room else timeout_s)
        waiting = Waiting(waiter, timeout_s)
        if has_room:
            self._start(waiting)
        else:
            self._waiting.append(waiting)
        try:
            await waiter
        except BaseException:
            if waiting.connection is not None:
                self.release(waiting.connection)
            raise
        if waiting.connection is None:
            raise waiting.error or ConnectError("no connection")
        return waiting.connection

    def release(self, connection: Connection, now: float | None = None) -> None:
        """Take a connection back after its exchange; close it unless it can serve another."""
        if not (
            connection.complete
            and connection.keep_alive
            and not connection.closed
            and not connection.write_paused
            and connection.requests < self._max_requests
            and not self._retired
        ):
            connection.close()
            return
        connection.exchange = None
        if not self._waiting or not self._hand_over(connection):
            self._keep(connection, monotonic() if now is None else now)

    def lost(self, connection: Connection) -> None:
        """Forget a closed connection; called by it."""
        self._open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        self._one_less()

    def retire(self) -> None:
        """Close idle connections now and busy ones when their exchange ends; keep none from now.

        Requests that were given this pool before can still use it.
        """
        self._retired = True
        self._close_idle()

    async def aclose(self) -> None:
        """Close every connection, those in use too, and fail whoever waits for one."""
        self.retire()
        while self._waiting:
            self._waiting.popleft().settle(ConnectError("the gateway is stopping"))
        for task in tuple(self._connecting):
            task.cancel()
        for connection in tuple(self._open):
            if connection.exchange is not None:
                connection.exchange.fail(UpstreamError("the gateway is stopping"))
            connection.abort()
        if self._open or self._connecting:
            self._emptied = asyncio.get_running_loop().create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_GRACE_S):
                    await self._emptied

    def statistics(self) -> PoolStatistics:
        """Return how many connections are idle, busy and being made, and how many requests wait."""
        idle = len(self._idle)
        busy = len(self._open) - idle
        return PoolStatistics(idle, busy, len(self._connecting), len(self._waiting))

    def __repr__(self) -> str:
        now = self.statistics()
        scheme = "http" if self.key.tls is None else "https"
        retired = " retired" if self._retired else ""
        return (
            f"Pool({scheme}://{self.key.host}:{self.key.port} idle={now.idle} busy={now.busy}"
            f" connecting={now.connecting} waiting={now.waiting}{retired})"
        )

    # -- the rest

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Move to another event loop: connections of a loop that ended are of no use."""
        self._loop = loop
        self._idle.clear()
        self._open.clear()
        self._connecting.clear()
        self._waiting.clear()
        self._sweeper = None

    def _has_room(self) -> bool:
        return self._max is None or len(self._open) + len(self._connecting) < self._max

    def _start(self, waiting: Waiting) -> None:
        task = asyncio.get_running_loop().create_task(
            self._dial(waiting.timeout_s),
            name=f"pingsix: connect to {self.key.host}:{self.key.port}",
        )
        self._connecting[task] = waiting
        task.add_done_callback(self._dialled)

    def _dialled(self, task: asyncio.Task[Connection]) -> None:
        """Give the new connection, or the failure, to the request it was made for."""
        waiting = self._connecting.pop(task, None)
        if waiting is None:  # of a loop that ended
            return
        if task.cancelled():
            waiting.settle(ConnectError("the gateway is stopping"))
        elif (failure := task.exception()) is None:
            self._offer(waiting, task.result())
        elif isinstance(failure, UpstreamError):
            waiting.settle(failure)
        else:
            logger.error("connecting to %r failed", self.key, exc_info=failure)
            waiting.settle(ConnectError(f"connecting failed: {failure}"))
        self._one_less()

    async def _dial(self, timeout_s: float) -> Connection:
        key = self.key
        where = f"{key.host}:{key.port}"
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self),
                    key.host,
                    key.port,
                    ssl=self._ssl,
                    server_hostname=None if self._ssl is None else key.server_name or key.host,
                )
        except TimeoutError as failure:
            raise UpstreamTimeout("connect", f"no connection to {where} in time") from failure
        except ssl.SSLError as failure:
            raise ConnectError(f"TLS with {where}: {failure}") from failure
        except (OSError, ValueError) as failure:  # ValueError: a name that cannot be one
            raise ConnectError(f"{where}: {failure}") from failure
        if not connection.closed:
            self._open.add(connection)
        return connection

    def _offer(self, waiting: Waiting, connection: Connection) -> None:
        """Give a new connection to the request it was made for, or to another, or to the pool."""
        if not waiting.is_over:
            waiting.settle(connection)
        elif self._retired:
            connection.close()
        elif not self._hand_over(connection):
            self._keep(connection, monotonic())

    def _keep(self, connection: Connection, now: float) -> None:
        """Keep a connection for the next request; the one idle longest goes if there are many."""
        connection.idle_since = now
        self._idle.append(connection)
        if len(self._idle) > self._max_idle:
            self._idle.pop(0).close()
        limit = self.key.keepalive.idle_timeout_s
        if self._sweeper is None and limit > 0 and self._loop is not None:
            self._sweeper = self._loop.call_later(limit, self._sweep)

    def _hand_over(self, connection: Connection) -> bool:
        """Give a free connection to the request that has waited longest."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.is_over:
                waiting.settle(connection)
                return True
        return False

    def _one_less(self) -> None:
        """Let the next request connect, or ``aclose`` go on."""
        while self._waiting and self._has_room():
            waiting = self._waiting.popleft()
            if not waiting.is_over:
                self._start(waiting)
        if self._emptied is not None and not self._open and not self._connecting:
            self._emptied.set_result(None)
            self._emptied = None

    def _sweep(self) -> None:
        """Close what has been idle too long; the oldest are at the front."""
        self._sweeper = None
        limit = self.key.keepalive.idle_timeout_s
        now = monotonic()
        old = 0
        while old < len(self._idle) and now - self._idle[old].idle_since >= limit:
            old += 1
        expired, self._idle[:old] = self._idle[:old], []
        for connection in expired:
            connection.close()
        if self._idle and self._loop is not None:
            left = limit - (now - self._idle[0].idle_since)
            self._sweeper = self._loop.call_later(left, self._sweep)

    def _close_idle(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
