"""Named groups of numbers that only grow: what metrics are counted in.

A sheet is a list of cells and a list of names, each name owning the next few cells. Adding to a
cell is one addition to a list or to a memory-mapped file, so it costs the request next to nothing.
In a shared directory every worker has a sheet of its own; readers add them up.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, MutableSequence
from pathlib import Path
from typing import TypeAlias

from .place import Place

MAX_CELLS = 262_144
"""Cells of a sheet (2 MiB, sparse): some 5 000 series of HTTP metrics."""

Name: TypeAlias = tuple[str, ...]
Row: TypeAlias = tuple[Name, list[float]]


class MemorySheet:
    """The sheet of a process that shares with nobody."""

    def __init__(self) -> None:
        self.cells: MutableSequence[float] = []
        self._starts: dict[Name, tuple[int, int]] = {}

    def row(self, name: Name, size: int) -> int | None:
        """Return the first of ``size`` cells of ``name``, made on first use; None: sheet full."""
        known = self._starts.get(name)
        if known is not None:
            return known[0]
        start = len(self.cells)
        if start + size > MAX_CELLS:
            return None
        self.cells.extend([0.0] * size)
        self._starts[name] = (start, size)
        return start

    def rows(self) -> Iterator[Row]:
        """Yield every name with its numbers."""
        for name, (start, size) in self._starts.items():
            yield name, list(self.cells[start : start + size])

    def close(self) -> None:
        """Nothing to close."""


class FileSheet:
    """A worker's sheet in a shared directory; its successor in the same place goes on with it."""

    def __init__(self, place: Place, kind: str) -> None:
        self._place = place
        self._kind = kind
        path = place.file(kind)
        self._names = os.open(_names_of(path), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._starts = dict(_read_names(_names_of(path)))
        os.ftruncate(self._names, _complete_bytes(_names_of(path)))
        self._used = sum(size for _, size in self._starts.values())
        with path.open("a+b") as file:
            file.truncate(8 * MAX_CELLS)
            self._map = mmap.mmap(file.fileno(), 8 * MAX_CELLS)
        self._bytes = memoryview(self._map)
        self._doubles = self._bytes.cast("d")
        self.cells: MutableSequence[float] | memoryview[float] = self._doubles

    def row(self, name: Name, size: int) -> int | None:
        """Return the first of ``size`` cells of ``name``, made on first use; None: sheet full."""
        known = self._starts.get(name)
        if known is not None:
            return known[0]
        start = self._used
        if start + size > MAX_CELLS:
            return None
        os.write(self._names, json.dumps([size, *name]).encode() + b"\n")
        self._used += size
        self._starts[name] = (start, size)
        return start

    def rows(self) -> Iterator[Row]:
        """Yield the rows of every worker; the same name comes once per worker."""
        yield from _rows(self._starts, self._doubles)
        for path in self._place.others(self._kind):
            names = dict(_read_names(_names_of(path)))
            with (
                path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
                memoryview(data) as raw,
                raw.cast("d") as cells,
            ):
                yield from _rows(names, cells)

    def close(self) -> None:
        """Unmap the file."""
        self._doubles.release()
        self._bytes.release()
        self._map.close()
        os.close(self._names)


Sheet: TypeAlias = MemorySheet | FileSheet


def _rows(starts: dict[Name, tuple[int, int]], cells: memoryview[float]) -> Iterator[Row]:
    for name, (start, size) in starts.items():
        yield name, [float(cells[at]) for at in range(start, start + size)]


def _names_of(path: Path) -> Path:
    return path.with_suffix(".names")


def _read_names(path: Path) -> Iterator[tuple[Name, tuple[int, int]]]:
    """Yield (name, (start, size)); a line that a killed worker left unfinished does not count."""
    start = 0
    for line in path.read_bytes()[: _complete_bytes(path)].splitlines():
        size, *name = json.loads(line)
        yield tuple(name), (start, size)
        start += size


def _complete_bytes(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1
