"""What outlives snapshots: pools, health, counters, background tasks; and the snapshot in force."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

from ..clock import Clock, SystemClock
from ..http.response import NOT_FOUND
from ..plugin.plan import Plan
from ..proxy.pool import Pool
from ..proxy.ticker import Ticker
from ..routing.router import Router
from ..upstream.node import PoolKey
from ..upstream.resolver import SystemResolver
from ..upstream.services import Resolver, UpstreamDefaults
from ..upstream.upstream import Upstream
from .consumers import LiveConsumers
from .match import NO_ROUTE, PlanCache, Refusal, RouteMatch
from .snapshot import Snapshot

logger = logging.getLogger("pingsix_asgi.snapshot")

T = TypeVar("T")

STARTED_AT_ONCE = 8
"""Upstreams whose names are resolved at the same time, as in PingSIX."""


class Runtime:
    """One per gateway. It may be made before there is an event loop; all else needs one.

    ``defaults`` and ``resolver`` are for upstreams; without a resolver the system's is asked.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        resolver: Resolver | None = None,
        defaults: UpstreamDefaults | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.upstream_services = _UpstreamServices(
            self, resolver or SystemResolver(), defaults or UpstreamDefaults()
        )
        unmatched = RouteMatch(Plan(), Refusal(NOT_FOUND), NO_ROUTE, ({}, {}), PlanCache())
        self.snapshot = Snapshot(Router(), unmatched)
        """What requests are served by; each takes it once. Empty until something is published."""
        self.published = 0
        """How often a snapshot was published."""
        self._kept: dict[Hashable, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the object under ``key``, made on first use; it stays until the gateway stops.

        One with ``async def aclose()`` is closed then.
        """
        if key not in self._kept:
            self._kept[key] = make()
        return cast("T", self._kept[key])

    def consumers(self, plugin: str) -> LiveConsumers:
        """Return who an auth plugin can find, always as of the snapshot in force."""
        return LiveConsumers(plugin, lambda: self.snapshot.consumers)

    def spawn(self, coro: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``coro`` in the background until it ends, is cancelled or the runtime closes.

        What it raises is logged.
        """
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def publish(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force: start upstreams new in it, swap, stop those it lacks.

        The swap is one assignment; requests under way keep the snapshot they took. Raises
        ValueError for a snapshot that was built on another one than the one in force.
        """
        if snapshot.built_on != self.published:
            raise ValueError("the snapshot was built on another one than the one in force")
        await _start_all(snapshot.fresh)
        self.snapshot = snapshot
        self.published += 1
        for upstream in snapshot.retired:
            upstream.stop()

    def discard(self, snapshot: Snapshot) -> None:
        """Give up what was made for a snapshot that will not be published."""
        for upstream in snapshot.fresh:
            upstream.stop()

    async def aclose(self) -> None:
        """Stop upstreams and background tasks, and close what was kept, newest first."""
        for upstream in self.snapshot.upstreams.values():
            upstream.stop()
        self.snapshot = Snapshot(Router(), self.snapshot.unmatched)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._kept:
            _, kept = self._kept.popitem()
            if hasattr(kept, "aclose"):
                try:
                    await kept.aclose()
                except Exception:  # one that cannot be closed must not keep the others open
                    logger.exception("closing %r failed", kept)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("background task %s failed", task.get_name(), exc_info=task.exception())


class _UpstreamServices:
    """The runtime as upstreams see it; what it keeps for them is forgotten when nobody uses it."""

    def __init__(self, runtime: Runtime, resolver: Resolver, defaults: UpstreamDefaults) -> None:
        self._runtime = runtime
        self.clock = runtime.clock
        self.resolver = resolver
        self.defaults = defaults
        self._kept: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
        self._ticker = Ticker()  # one timer for all pools

    def make_pool(self, key: PoolKey) -> Pool:
        return Pool(key, ticker=self._ticker)

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = make()
        return cast("T", kept)

    def spawn(self, coro: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._runtime.spawn(coro, name)


async def _start_all(upstreams: Sequence[Upstream]) -> None:
    """Start upstreams, a few at a time; one that fails is logged and answers 503 until it heals."""
    waiting = iter(upstreams)

    async def work() -> None:
        for upstream in waiting:
            try:
                await upstream.start()
            except Exception:  # the configuration goes live without this one
                logger.exception("upstream %s could not be started", upstream.name)

    await asyncio.gather(*(work() for _ in range(min(STARTED_AT_ONCE, len(upstreams)))))
