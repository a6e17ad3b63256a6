"""A fixed-size table of expiring numbers by key, in memory-mapped slabs: one per worker.

A worker writes its own slab and reads everybody's, so there is no lock and no lost update. Numbers
are 64-bit and aligned: each is read and written whole. Memory is bounded: when the few slots a key
may use are taken, the entry that would expire first makes room.
"""

from __future__ import annotations

import mmap
import struct
from hashlib import blake2b
from pathlib import Path

from .place import Place

SLOTS = 16_384
"""Keys a slab holds (384 KiB); beyond that the oldest entries give way."""
_PROBES = 8
_CELLS = 3  # key, end, value
_HEADER = 4
_MAGIC = 0x50_53_49_58_54_41_42_32
_RESCAN_NS = 1_000_000_000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Slab:
    """One worker's part of a table. Times are nanoseconds of the machine's monotonic clock."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        size = 8 * (_HEADER + _CELLS * (SLOTS + _PROBES))
        with path.open("r+b" if path.exists() else "x+b") as file:
            head = file.read(8 * _HEADER)
            header = struct.pack("=4q", _MAGIC, SLOTS, _boot(), 0)
            if writable and head != header:  # new, or times in it are of an earlier boot
                file.truncate(0)
                file.truncate(size)
                file.seek(0)
                file.write(header)
                file.flush()
            elif head != header:
                raise ValueError(f"{path} is not a slab of this boot")
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(file.fileno(), size, access=access)
        self._bytes = memoryview(self._map)
        self.cells = self._bytes.cast("q")

    def find(self, key: int, now: int) -> int:
        """Return the cell index of the live entry for ``key``, or -1. Its value is at +2."""
        cells = self.cells
        first = _HEADER + _CELLS * (key % SLOTS)
        for at in range(first, first + _CELLS * _PROBES, _CELLS):
            if cells[at] == key and cells[at + 1] > now:
                return at
        return -1

    def put(self, key: int, value: int, end: int) -> None:
        """Write a new entry, over the one of the key's slots that ends first."""
        cells = self.cells
        first = _HEADER + _CELLS * (key % SLOTS)
        slots = range(first, first + _CELLS * _PROBES, _CELLS)
        at = min(slots, key=lambda slot: cells[slot + 1])
        cells[at + 1] = 0  # not live while it is half written
        cells[at] = key
        cells[at + 2] = value
        cells[at + 1] = end

    def clear(self) -> None:
        """Forget every entry."""
        for at in range(_HEADER + 1, len(self.cells), _CELLS):
            self.cells[at] = 0

    def close(self) -> None:
        """Unmap the file."""
        self.cells.release()
        self._bytes.release()
        self._map.close()


class Table:
    """All slabs of one kind: this worker's own, and those of the others.

    With ``fresh`` the own slab starts empty: for numbers that end with their process.
    """

    def __init__(self, place: Place, kind: str, *, fresh: bool = False) -> None:
        self._place = place
        self._kind = kind
        self.own = Slab(place.file(kind), writable=True)
        if fresh:
            self.own.clear()
        self._others: dict[Path, Slab] = {}
        self._rescan_at = 0

    def others(self, now: int) -> list[Slab]:
        """Return the other workers' slabs; new workers are noticed within a second."""
        if now >= self._rescan_at:
            self._rescan_at = now + _RESCAN_NS
            for path in self._place.others(self._kind):
                if path not in self._others:
                    try:
                        self._others[path] = Slab(path, writable=False)
                    except (OSError, ValueError):
                        continue  # being made, or left from before: next time
        return list(self._others.values())

    def close(self) -> None:
        """Unmap everything."""
        for slab in (self.own, *self._others.values()):
            slab.close()
        self._others.clear()


def hash_key(key: str) -> int:
    """Return the same positive 63-bit number for a key in every process."""
    digest = blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1 or 1


def _boot() -> int:
    """Return a number that is another after the machine restarts, because its clock is."""
    try:
        text = _BOOT_ID.read_text()
    except OSError:
        text = ""
    return hash_key(text)
