"""Circuit breakers over the stores of the limit plugins, so shared by whoever shares those.

A store can only add, so nothing is ever taken back: a circuit that recovered goes on under the next
number, and its successes are counted under the number of its failures.
"""

from __future__ import annotations

from typing import Final

from .store import Counters, Marks

REMEMBERED_S: Final = 86_400
"""Seconds from its first failure until a circuit is forgotten, whatever its state."""
_MOST_DOUBLINGS: Final = 30


class Circuits:
    """The circuits of one machine by key. All times are seconds of the monotonic clock."""

    def __init__(self, counters: Counters, marks: Marks) -> None:
        self._counters = counters
        self._marks = marks

    def is_open(self, key: str, now: float) -> bool:
        """Tell whether nobody is to be asked."""
        return self._marks.read(self._current(key, now), now) > now

    def failed(self, key: str, now: float, failures: int, max_open_s: float) -> None:
        """Count a failure. Each ``failures`` of them open the circuit, for 2 s, 4 s, 8 s, …"""
        current = self._current(key, now)
        total, _ = self._counters.add(current, 1, REMEMBERED_S, now)
        rounds = total // failures
        # two workers that fail at once may both count past the round: it opens all the same
        missing = rounds - self._counters.read(f"{current} rounds", now)
        if missing > 0:
            self._counters.add(f"{current} rounds", missing, REMEMBERED_S, now)
            open_for_s = min(2.0 ** min(rounds, _MOST_DOUBLINGS), max_open_s)
            self._marks.move(current, now + open_for_s)

    def succeeded(self, key: str, now: float, successes: int) -> None:
        """Count a success after failures; ``successes`` of them in a row make all forgotten."""
        current = self._current(key, now)
        failures = self._counters.read(current, now)
        if failures == 0:
            return
        count, _ = self._counters.add(f"{current} after {failures}", 1, REMEMBERED_S, now)
        if count >= successes:
            self._counters.add(f"{key} recoveries", 1, REMEMBERED_S, now)

    def _current(self, key: str, now: float) -> str:
        return f"{key} {self._counters.read(f'{key} recoveries', now)}"
