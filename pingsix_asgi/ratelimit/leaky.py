"""The leaky bucket of limit-req, over any Marks store.

The bucket's state is one point in time: when it will be empty enough that a request is not early.
"""

from __future__ import annotations

from .store import Marks


class LeakyBucket:
    """Requests leak at a rate; those above it wait, those above rate and burst are refused."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def take(self, key: str, rate: float, burst: float, now: float) -> float | None:
        """Return the seconds this request is early, or None to refuse it (it changes nothing)."""
        mark = self._marks.read(key, now)
        early_s = mark - now
        if early_s * rate > burst + 1e-9:
            return None
        self._marks.move(key, mark + 1 / rate)
        return early_s
