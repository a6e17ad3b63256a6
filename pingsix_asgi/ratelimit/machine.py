"""Stores that the workers of one machine share, over memory-mapped slabs.

Each worker writes its own numbers and adds up everybody's. Two workers that act within the same
microseconds may each not see the other yet: a limit can be passed by at most one per worker.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from ..plugin.base import Host
from ..shared.place import Place, shared_directory
from ..shared.table import Table, hash_key
from .store import Counters, Gauges, Marks, MemoryCounters, MemoryGauges, MemoryMarks

_NS = 1_000_000_000
_NEVER = 2**62
_KEY: Hashable = "ratelimit.machine"


class SharedCounters:
    """Counters of all workers. A window that one worker started is joined by the others."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, key: str, amount: int, window_s: float, now: float) -> tuple[int, float]:
        number, now_ns = hash_key(key), int(now * _NS)
        total, ends = 0, _NEVER
        for slab in self._table.others(now_ns):
            at = slab.find(number, now_ns)
            if at >= 0:
                total += slab.cells[at + 2]
                ends = min(ends, slab.cells[at + 1])
        own = self._table.own
        at = own.find(number, now_ns)
        if at >= 0:
            own.cells[at + 2] += amount
            return total + own.cells[at + 2], min(ends, own.cells[at + 1]) / _NS
        if not now_ns < ends < _NEVER:
            ends = now_ns + int(window_s * _NS)
        own.put(number, amount, ends)
        return total + amount, ends / _NS

    def read(self, key: str, now: float) -> int:
        number, now_ns = hash_key(key), int(now * _NS)
        total = 0
        for slab in (self._table.own, *self._table.others(now_ns)):
            at = slab.find(number, now_ns)
            if at >= 0:
                total += slab.cells[at + 2]
        return total


class SharedMarks:
    """Marks of all workers: the latest one counts."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self, key: str, now: float) -> float:
        number, now_ns = hash_key(key), int(now * _NS)
        latest = now_ns
        for slab in (self._table.own, *self._table.others(now_ns)):
            at = slab.find(number, now_ns)
            if at >= 0:
                latest = max(latest, slab.cells[at + 2])
        return now if latest == now_ns else latest / _NS

    def move(self, key: str, mark: float) -> None:
        number, mark_ns = hash_key(key), int(mark * _NS)
        own = self._table.own
        at = own.find(number, 0)
        if at >= 0:
            own.cells[at + 2] = mark_ns
            own.cells[at + 1] = mark_ns
        else:
            own.put(number, mark_ns, mark_ns)


class SharedGauges:
    """Gauges of all workers."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def enter(self, key: str, now: float) -> int:
        number, now_ns = hash_key(key), int(now * _NS)
        total = 1
        for slab in self._table.others(now_ns):
            at = slab.find(number, 0)
            if at >= 0:
                total += slab.cells[at + 2]
        own = self._table.own
        at = own.find(number, 0)
        if at >= 0:
            own.cells[at + 2] += 1
            return total - 1 + own.cells[at + 2]
        own.put(number, 1, _NEVER)
        return total

    def leave(self, key: str) -> None:
        own = self._table.own
        at = own.find(hash_key(key), 0)
        if at < 0:
            return
        own.cells[at + 2] -= 1
        if own.cells[at + 2] <= 0:
            own.cells[at + 1] = 0


@dataclass(frozen=True, slots=True)
class MachineStores:
    """What one machine counts in: shared by its workers, or the memory of a single process."""

    counters: Counters
    marks: Marks
    gauges: Gauges
    place: Place | None = None
    tables: tuple[Table, ...] = ()

    async def aclose(self) -> None:
        """Unmap the files and give the place back."""
        for table in self.tables:
            table.close()
        if self.place is not None:
            self.place.close()


def machine_stores(host: Host) -> MachineStores:
    """Return the gateway's stores: shared when PINGSIX_SHARED_DIR says where, else in memory."""
    return host.keep(_KEY, _make)


def _make() -> MachineStores:
    directory = shared_directory()
    if directory is None:
        return MachineStores(MemoryCounters(), MemoryMarks(), MemoryGauges())
    place = Place(directory / "limits")
    counts, marks = Table(place, "counts"), Table(place, "marks")
    gauges = Table(place, "gauges", fresh=True)
    return MachineStores(
        SharedCounters(counts),
        SharedMarks(marks),
        SharedGauges(gauges),
        place,
        (counts, marks, gauges),
    )
