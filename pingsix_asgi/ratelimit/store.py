"""What the algorithms keep their numbers in: three small contracts, and the process's memory.

A store that is synchronous is asked in the request's own step. All times are seconds of the
monotonic clock, given by the caller.
"""

from __future__ import annotations

from typing import Protocol

MAX_KEYS = 65_536
"""Keys a memory store holds; the ones written longest ago give way."""


class StoreError(Exception):
    """A store cannot be asked right now."""


class Counters(Protocol):
    """Counts that end with their window."""

    def add(self, key: str, amount: int, window_s: float, now: float) -> tuple[int, float]:
        """Add to the count of ``key``; returns the new count and when its window ends.

        The first addition after the end starts a window of ``window_s``.
        """

    def read(self, key: str, now: float) -> int:
        """Return the count of ``key``, 0 when its window is over."""


class Marks(Protocol):
    """Points in time that only move forward."""

    def read(self, key: str, now: float) -> float:
        """Return the mark of ``key``, or ``now`` when it has none in the future."""

    def move(self, key: str, mark: float) -> None:
        """Set the mark of ``key``, later than the one it has."""


class Gauges(Protocol):
    """Numbers of things that are under way."""

    def enter(self, key: str, now: float) -> int:
        """Count one more; returns how many there are with it."""

    def leave(self, key: str) -> None:
        """Count one less."""


class MemoryCounters:
    """Counters of one process."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._windows: dict[str, list[float]] = {}
        self._max_keys = max_keys

    def add(self, key: str, amount: int, window_s: float, now: float) -> tuple[int, float]:
        window = self._windows.get(key)
        if window is None or window[1] <= now:
            if window is not None:
                del self._windows[key]  # a new window goes to the young end of the dict
            elif len(self._windows) >= self._max_keys:
                del self._windows[next(iter(self._windows))]
            self._windows[key] = window = [0, now + window_s]
        window[0] = count = int(window[0]) + amount
        return count, window[1]

    def read(self, key: str, now: float) -> int:
        window = self._windows.get(key)
        return int(window[0]) if window is not None and window[1] > now else 0


class MemoryMarks:
    """Marks of one process."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._marks: dict[str, float] = {}
        self._max_keys = max_keys

    def read(self, key: str, now: float) -> float:
        return max(self._marks.get(key, now), now)

    def move(self, key: str, mark: float) -> None:
        if self._marks.pop(key, None) is None and len(self._marks) >= self._max_keys:
            del self._marks[next(iter(self._marks))]
        self._marks[key] = mark


class MemoryGauges:
    """Gauges of one process; a key that is back at zero takes no memory."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def enter(self, key: str, now: float) -> int:
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return count

    def leave(self, key: str) -> None:
        count = self._counts.get(key, 0) - 1
        if count > 0:
            self._counts[key] = count
        else:
            self._counts.pop(key, None)
