"""One coarse timer per event loop for everything that is under way with upstreams.

It stands in for a timer and a watching task per request: ten times a second, and only while
something is in flight, it looks at each exchange's deadline and lets exchanges that take long watch
whether their client is still there. Deadlines are kept to within two ticks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

TICK_S: Final = 0.1
_LATE_S: Final = 3 * TICK_S
"""A tick later than this means that the loop was blocked: what arrived meanwhile may not have been
read yet, so no deadline is enforced before the next tick."""


class Ticking(Protocol):
    """Something under way that looks after itself once per tick."""

    def tick(self, now: float, enforce: bool) -> None:
        """``now`` is monotonic; deadlines count only if ``enforce``."""


class Ticker:
    """Calls ``tick`` on everything in ``busy`` until nothing is left in it.

    Bound to the event loop that used it last: a loop that ended takes what was under way with it.
    """

    __slots__ = ("_clock", "_handle", "_last", "busy", "loop")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._handle: asyncio.TimerHandle | None = None
        self.busy: set[Ticking] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop it ticks on; None while nothing is under way."""
        self._last = 0.0

    def add(self, exchange: Ticking) -> asyncio.AbstractEventLoop:
        """Let ``exchange`` tick until it is discarded from ``busy``; return the running loop.

        CPython 3.11 makes a system call each time it is asked for the running loop, a tenth of a
        simple request's CPU time; a gateway has one loop, so while this ticks, that is the one.
        """
        loop = self.loop
        if loop is None or loop.is_closed():
            loop = self._start()
        self.busy.add(exchange)
        return loop

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._handle is not None:
            self._handle.cancel()
            self.busy.clear()
        loop = self.loop = asyncio.get_running_loop()
        self._last = self._clock()
        self._handle = loop.call_later(TICK_S, self._tick)
        return loop

    def _tick(self) -> None:
        if not self.busy or self.loop is None:
            self.loop = self._handle = None
            return
        now = self._clock()
        enforce = now - self._last < _LATE_S
        self._last = now
        for exchange in tuple(self.busy):
            exchange.tick(now, enforce)
        self._handle = self.loop.call_later(TICK_S, self._tick)

    def __repr__(self) -> str:
        return f"Ticker({len(self.busy)} under way)"
