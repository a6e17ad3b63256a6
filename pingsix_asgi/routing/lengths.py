"""The distinct lengths of a changing set of keys, for looking up every prefix or suffix in it."""

from __future__ import annotations

from typing import Self


class Lengths:
    """How many keys there are of each length."""

    __slots__ = ("_counts", "descending")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.descending: tuple[int, ...] = ()
        """Every length that occurs, the longest first."""

    def copy(self) -> Self:
        """Return a copy."""
        copy = type(self)()
        copy._counts, copy.descending = self._counts.copy(), self.descending
        return copy

    def count(self, length: int, change: int) -> None:
        """Add ``change`` (-1, 0 or 1) to the number of keys of this length."""
        total = self._counts.get(length, 0) + change
        if total:
            self._counts[length] = total
        else:
            self._counts.pop(length, None)
        if total == 0 or total == change:
            self.descending = tuple(sorted(self._counts, reverse=True))
