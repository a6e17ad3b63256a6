"""Entries collected into batches on their way to a collector: bounded, retried, counted.

Source: APISIX apisix/utils/batch-processor.lua (fields and defaults).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import Field

from ..plugin.base import PluginConf
from ..shared.metrics import Family, Keeper, gateway_metrics

logger = logging.getLogger("pingsix_asgi.logs")

MAX_PENDING = 8192
_CLOSE_S = 5.0
"""How long a stopping gateway waits for the last batches."""

_LABELS = ("name", "route_id", "server_addr")
ENTRIES = Family("batch_process_entries", "batch process remaining entries", "gauge", _LABELS)
DROPPED = Family(
    "batch_process_dropped_entries_total", "Log entries that were given up", "counter", _LABELS
)


class Meter:
    """The metrics of the entries under these labels: how many wait here, how many were dropped."""

    def __init__(self, keeper: Keeper, labels: tuple[str, str, str]) -> None:
        self._sheet = gateway_metrics(keeper).sheet
        self._cell = gateway_metrics(keeper).series(ENTRIES, labels)
        self._dropped = gateway_metrics(keeper).series(DROPPED, labels)
        known: set[int] = keeper.keep(ENTRIES, set)
        if self._cell is not None and self._cell not in known:
            known.add(self._cell)
            self._sheet.cells[self._cell] = 0.0  # what a process that crashed here has left

    def add(self, count: int) -> None:
        """Count entries that came, or below zero, went."""
        if self._cell is not None:
            self._sheet.cells[self._cell] += count

    def drop(self, count: int) -> None:
        """Count entries that were given up."""
        if self._dropped is not None:
            self._sheet.cells[self._dropped] += count


class BatchConf(PluginConf):
    """Batching options that logger plugins mix into their conf."""

    batch_max_size: Annotated[int, Field(ge=1)] = 1000
    """Entries of a batch; with 1 each is sent as an object, not a list."""
    inactive_timeout: Annotated[float, Field(ge=1)] = 5
    """Seconds without a new entry after which a batch is sent."""
    buffer_duration: Annotated[float, Field(ge=1)] = 60
    """Seconds after which the oldest entry is sent in any case."""
    max_retry_count: Annotated[int, Field(ge=0)] = 0
    """Further tries for a batch that did not arrive."""
    retry_delay: Annotated[float, Field(ge=0)] = 1
    """Seconds before a further try."""


class Batcher:
    """Collects entries and hands them to ``deliver`` in batches, from one task of its own.

    ``deliver`` raises to say that the batch did not arrive. More than ``max_pending`` waiting
    entries are dropped and counted in ``dropped``, so that a dead collector costs no memory.
    """

    def __init__(
        self,
        label: str,
        conf: BatchConf,
        deliver: Callable[[list[Any]], Awaitable[None]],
        max_pending: int = MAX_PENDING,
    ) -> None:
        self.dropped = 0
        self.meter: Meter | None = None
        """Where ``pending`` and ``dropped`` are told; set by who knows the labels."""
        self._label = label
        self._conf = conf
        self._deliver = deliver
        self._max_pending = max_pending
        self._waiting: deque[Any] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._refused = 0
        """Entries that found the backlog full, since it last had room."""

    @property
    def pending(self) -> int:
        """Entries not delivered yet."""
        return len(self._waiting)

    def push(self, entry: Any) -> None:
        """Queue an entry; must be called with the event loop running."""
        if len(self._waiting) >= self._max_pending:
            if not self._refused:
                logger.error(
                    "%s: %d entries wait, which is the most: dropping those that come now",
                    self._label,
                    self._max_pending,
                )
            self._refused += 1
            self._drop(1)
            return
        self._tell_refused()
        self._waiting.append(entry)
        self._count(1)
        self._arrived.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"pingsix-log-{self._label}")

    async def aclose(self) -> None:
        """Send what waits, for at most five seconds, and stop."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_CLOSE_S)
            self._task.cancel()
        self._tell_refused()
        left = len(self._waiting)
        if left:
            self._drop(left)
            logger.error("%s: stopped, %d entries were not sent in time", self._label, left)
        self._count(-left)

    def _tell_refused(self) -> None:
        if self._refused:
            logger.error("%s: dropped %d entries, too many waited", self._label, self._refused)
            self._refused = 0

    def _count(self, change: int) -> None:
        if self.meter is not None:
            self.meter.add(change)

    def _drop(self, count: int) -> None:
        self.dropped += count
        if self.meter is not None:
            self.meter.drop(count)

    async def _run(self) -> None:
        while self._waiting:
            await self._fill()
            size = min(len(self._waiting), self._conf.batch_max_size)
            batch = [self._waiting[index] for index in range(size)]
            await self._send(batch)
            for _ in batch:
                self._waiting.popleft()
            self._count(-size)

    async def _fill(self) -> None:
        """Wait until a batch is full, nothing more arrives, or the oldest entry is old enough."""
        conf, loop = self._conf, asyncio.get_running_loop()
        end = loop.time() + conf.buffer_duration
        while len(self._waiting) < conf.batch_max_size and not self._closing:
            self._arrived.clear()
            wait = min(conf.inactive_timeout, end - loop.time())
            if wait <= 0:
                return
            try:
                async with asyncio.timeout(wait):
                    await self._arrived.wait()
            except TimeoutError:
                return

    async def _send(self, batch: list[Any]) -> None:
        for attempt in range(self._conf.max_retry_count + 1):
            if attempt:
                await asyncio.sleep(self._conf.retry_delay)
            try:
                await self._deliver(batch)
            except Exception as error:
                logger.warning("%s: batch of %d failed: %s", self._label, len(batch), error)
            else:
                return
        self._drop(len(batch))
        logger.error("%s: dropped %d entries after the last try", self._label, len(batch))
