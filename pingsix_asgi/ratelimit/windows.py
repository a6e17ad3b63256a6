"""Algorithms that count in windows, over any Counters store."""

from __future__ import annotations

import math
from typing import TypeAlias

from .store import Counters

Verdict: TypeAlias = tuple[int, float]
"""(what is left after this request, negative when it is one too many; seconds until reset)."""


class FixedWindow:
    """A count that starts with a key's first request and ends ``window_s`` later.

    Refused requests count too, as in APISIX.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def take(self, key: str, limit: int, window_s: float, now: float, cost: int = 1) -> Verdict:
        count, end = self._counters.add(key, cost, window_s, now)
        return limit - count, end - now


class SlidingWindow:
    """Two clock-aligned windows, the older one weighed by how much of it is still in sight.

    Only admitted requests count. Source: apisix/plugins/limit-count/sliding-window.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def take(self, key: str, limit: int, window_s: float, now: float, cost: int = 1) -> Verdict:
        number = int(now // window_s)
        left_s = (number + 1) * window_s - now
        current_key = f"{key}.{number}"
        before = self._counters.read(f"{key}.{number - 1}", now)
        current = self._counters.read(current_key, now)
        remaining, reset_s = estimate(before, current, limit, window_s, left_s, cost)
        if remaining >= 0:
            self._counters.add(current_key, cost, 2 * window_s, now)
        return remaining, reset_s


def estimate(
    before: int, current: int, limit: int, window_s: float, left_s: float, cost: int
) -> Verdict:
    """Judge one request by the counts of the window before and the current one."""
    rate = before / window_s
    estimated = rate * left_s + current
    if estimated + cost <= limit:
        return math.floor(limit - estimated - cost), left_s
    if current + cost > limit or rate <= 0.0:
        return -1, left_s
    wait_s = left_s - (limit - current - cost) / rate
    return -1, math.ceil(wait_s * 100) / 100
