"""Counting in Redis with a delay: decide at once, tell Redis every ``interval_s``.

Each worker decides by what Redis last said plus what it admitted since, so a limit can be passed by
what the other workers admitted in one interval. While Redis is away the counting goes on here.
"""

from __future__ import annotations

import asyncio
import logging

from ..clock import Clock
from .redis import RedisFixedWindow
from .store import StoreError
from .windows import Verdict

logger = logging.getLogger("pingsix_asgi.ratelimit")

MAX_KEYS = 10_000
"""Keys a worker counts for itself; beyond that the oldest is forgotten between two intervals."""


class _Count:
    """What is known of one key: Redis's count and end of window, and what Redis was not told."""

    __slots__ = ("delta", "ends_at", "limit", "remote", "window_s")

    def __init__(self, limit: int, window_s: int, remote: int, ends_at: float) -> None:
        self.limit = limit
        self.window_s = window_s
        self.remote = remote
        self.ends_at = ends_at
        self.delta = 0


class DelayedWindow:
    """A fixed window over Redis whose requests wait for Redis only once per key and window."""

    def __init__(self, window: RedisFixedWindow, interval_s: float, clock: Clock) -> None:
        self._window = window
        self._interval_s = interval_s
        self._clock = clock
        self._counts: dict[str, _Count] = {}
        self._task: asyncio.Task[None] | None = None

    def take_known(self, key: str, now: float, cost: int = 1) -> Verdict | None:
        """Count a request of a key whose window is known; None: ask ``take``."""
        count = self._counts.get(key)
        if count is None or count.ends_at <= now:
            return None
        count.delta += cost
        return count.limit - count.remote - count.delta, count.ends_at - now

    async def take(self, key: str, limit: int, window_s: int, now: float, cost: int = 1) -> Verdict:
        """Count a request, asking Redis when the key is new or its window is over."""
        known = self._counts.get(key)
        if known is not None and (known.limit, known.window_s) != (limit, window_s):
            del self._counts[key]
        verdict = self.take_known(key, now, cost)
        if verdict is not None:
            return verdict
        if window_s <= self._interval_s:
            return await self._window.take(key, limit, window_s, now, cost)
        try:
            remaining, left_s = await self._window.take(key, limit, window_s, now, cost)
            count = _Count(limit, window_s, limit - remaining, now + left_s)
        except StoreError as error:
            logger.warning("counting here until Redis is back: %s", error)
            remaining, left_s = limit - cost, float(window_s)
            count = _Count(limit, window_s, 0, now + left_s)
            count.delta = cost
        if len(self._counts) >= MAX_KEYS:
            del self._counts[next(iter(self._counts))]
        self._counts[key] = count
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._sync(), name="limit-count sync")
        return remaining, left_s

    async def flush(self) -> None:
        """Tell Redis what was counted since the last time, and learn what the others counted."""
        now = self._clock.monotonic()
        for key, count in list(self._counts.items()):
            told = count.delta
            if not told or count.ends_at <= now:
                del self._counts[key]  # idle or over: the next request asks Redis
                continue
            try:
                remaining, _ = await self._window.take(key, count.limit, count.window_s, 0.0, told)
            except StoreError as error:
                logger.warning("counting here until Redis is back: %s", error)
                return
            count.remote = count.limit - remaining
            count.delta -= told

    async def stop(self) -> None:
        """Stop, after a last flush."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.flush()

    async def _sync(self) -> None:
        while self._counts:
            await asyncio.sleep(self._interval_s)
            await self.flush()
