"""Follow a store: list, publish, watch, publish what changed, for as long as the gateway runs.

Whatever happens to the store, what was published last stays in force.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from ..clock import Clock, SystemClock
from ..errors import SchemaError, SourceError
from ..model.resources import Resources
from .collector import Collector
from .documents import Documents
from .source import Publish
from .store import Batch, Compacted, Event, Store

log = logging.getLogger("pingsix_asgi.config.watch")

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
IN_FORCE_S = 2.0
"""How long who has written something is held up until it is in force."""


def jittered(attempt: int) -> float:
    """Return the seconds to wait after failure 1, 2, …: doubling, different in every process."""
    longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempt - 1, 10))
    return longest * random.uniform(0.5, 1)


@dataclass(slots=True)
class SourceStatus:
    """How it stands with a source; readiness and the status page read it. Times are monotonic."""

    name: str
    is_connected: bool = False
    disconnected_at: float | None = None
    """When contact was lost; None while connected."""
    last_contact: float | None = None
    revision: int = 0
    """The newest revision seen."""
    awaits_publish: bool = True
    """The store is within reach again, but what was listed since is not published yet."""
    last_error: str | None = None
    """Why the store is out of reach, or why nothing could be published; None when all is well."""
    errors: Sequence[SchemaError] = ()
    """What is wrong with single resources, as of the last publication."""
    foreign_keys: set[str] = field(default_factory=set)
    """Keys under the prefix that are no resources; the first few."""


class StoreSource:
    """A configuration source over any Store, which is closed when the source stops.

    ``delay`` gives the seconds to wait after the n-th failure in a row.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock | None = None,
        delay: Callable[[int], float] = jittered,
    ) -> None:
        self.store = store
        self._clock = clock or SystemClock()
        self._delay = delay
        self._documents = Documents(store.prefix)
        self._collector = Collector(self._clock)
        self._is_listed = False
        self._failures = 0
        self._taken = 0
        """The revision up to which everything is in force, or was refused."""
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.status = SourceStatus(store.name, disconnected_at=self._clock.monotonic())

    async def load(self) -> tuple[Resources, int]:
        """Read everything once. Raises SourceError."""
        await self._list()
        return self._documents.resources, self.status.revision

    async def reach(self, revision: int) -> None:
        """Wait until what was written at ``revision`` is in force here.

        Returns early when the store is out of reach, and after ``IN_FORCE_S`` in any case.
        """
        if self._taken >= revision or not self.status.is_connected:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, waiting))
        self.store.wake()
        await asyncio.wait((waiting,), timeout=IN_FORCE_S)
        waiting.cancel()

    async def run(self, publish: Publish) -> None:
        """Keep the gateway in step with the store until cancelled."""
        self._is_listed = False  # whom an earlier run published to is not this one's ``publish``
        self.status.awaits_publish = True
        try:
            while True:
                try:
                    await self._follow(publish)
                except Compacted as error:
                    log.info("listing again: %s", error)
                    self._is_listed = False
                except SourceError as error:
                    self._lost(error)
                except Exception as error:  # the root of a background task: nothing may end it
                    log.exception("the configuration could not be published")
                    self.status.last_error = f"{type(error).__name__}: {error}"
                    self._is_listed = False
                self._failures += 1
                await asyncio.sleep(self._delay(self._failures))
        finally:
            await self.store.aclose()

    async def _follow(self, publish: Publish) -> None:
        """List unless that is done, then publish what the watch brings; ends by an exception."""
        if not self._is_listed:
            await self._list(publish)
        batches: asyncio.Queue[Batch | SourceError] = asyncio.Queue()
        reader = asyncio.create_task(self._read(batches), name="pingsix-watch")
        try:
            while True:
                found = [await batches.get()]
                while not batches.empty():  # a burst is published once
                    found.append(batches.get_nowait())
                await self._take(found, publish)
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader

    async def _read(self, batches: asyncio.Queue[Batch | SourceError]) -> None:
        try:
            watch = self.store.watch(f"{self.store.prefix}/", self.status.revision + 1)
            async with aclosing(watch):
                async for batch in watch:
                    batches.put_nowait(batch)
            batches.put_nowait(SourceError("the watch ended"))
        except SourceError as error:
            batches.put_nowait(error)

    async def _take(self, found: Sequence[Batch | SourceError], publish: Publish) -> None:
        """Apply batches in order and publish once; then raise what ended the watch, if it did."""
        failure: SourceError | None = None
        events: list[Event] = []
        for batch in found:
            if isinstance(batch, SourceError):
                failure = batch
                break
            events += batch.events
            self._reached(batch.revision)
        with self._collector.resting(len(events)):
            if await self._documents.apply(events):
                await self._publish(publish)
        if failure is not None:
            raise failure
        self._failures = 0
        self._release()

    async def _list(self, publish: Publish | None = None) -> None:
        listing = await self.store.list(f"{self.store.prefix}/")
        with self._collector.resting(len(listing.items)):
            await self._documents.replace(listing.items)
            # Listed again without having lost the store, what is in force stays good enough.
            self.status.awaits_publish |= not self.status.is_connected
            self.status.revision = 0  # a restored store may be at an older revision than before
            self._reached(listing.revision)
            self._is_listed = True
            if publish is not None:
                await self._publish(publish)
                self._release()

    def _release(self) -> None:
        """Let those go on whose writes are in force now."""
        self._taken = self.status.revision
        if self._waiting:
            for revision, waiting in self._waiting:
                if revision <= self._taken and not waiting.done():
                    waiting.set_result(None)
            self._waiting = [entry for entry in self._waiting if not entry[1].done()]

    async def _publish(self, publish: Publish) -> None:
        status, documents = self.status, self._documents
        revision = status.revision
        status.errors = await publish(documents.resources, revision)
        status.foreign_keys = documents.foreign
        status.awaits_publish = False

    def _reached(self, revision: int) -> None:
        status = self.status
        if not status.is_connected and status.last_contact is not None:
            log.info("%s: connected again", status.name)
        status.is_connected, status.disconnected_at = True, None
        status.last_contact, status.last_error = self._clock.monotonic(), None
        status.revision = max(status.revision, revision)

    def _lost(self, error: SourceError) -> None:
        if self.status.is_connected or self._failures == 0:
            log.warning("lost the configuration store, the last configuration stays: %s", error)
        if self.status.is_connected:
            self.status.disconnected_at = self._clock.monotonic()
        self.status.is_connected, self.status.last_error = False, str(error)
