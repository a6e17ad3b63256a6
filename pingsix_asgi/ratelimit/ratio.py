"""A circuit breaker by the share of failures in a sliding window; probes decide when it closes.

It stands on the stores of the limit plugins, so whoever shares those shares it. A store can only
add, so nothing is ever taken back: a circuit that closed goes on under the next number.
Source: apisix/plugins/api-breaker.lua, policy unhealthy-ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .circuit import REMEMBERED_S
from .store import Counters, Marks

_BUCKETS: Final = 10
"""Parts of the window; the oldest one is forgotten at a time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a circuit opens and closes."""

    open_s: float
    """Seconds until a circuit that opened lets probes pass."""
    error_ratio: float
    min_requests: int
    """With fewer requests in the window it does not open."""
    window_s: int
    probes: int
    success_ratio: float
    """Share of probes that must succeed."""


class RatioCircuit:
    """One circuit. All times are seconds of the monotonic clock."""

    def __init__(self, key: str, limits: Limits, counters: Counters, marks: Marks) -> None:
        self._key = key
        self._limits = limits
        self._counters = counters
        self._marks = marks
        self._bucket_s = max(limits.window_s // _BUCKETS, 1)
        self._kept_s = max(REMEMBERED_S, 4 * limits.open_s)

    def admits(self, now: float) -> bool:
        """Tell whether the upstream may be asked; whoever may be a probe is counted as one."""
        circuit = self._circuit(now)
        opened = self._opened(circuit, now)
        if not opened:
            return True
        if self._is_open(circuit, now):
            return False
        # A probe whose answer never comes is forgotten after a while, and another one let through.
        probes, _ = self._counters.add(f"{circuit} {opened} probes", 1, self._limits.open_s, now)
        return probes <= self._limits.probes

    def answered(self, now: float, *, is_failure: bool, is_success: bool) -> None:
        """Count an answer of the upstream."""
        circuit = self._circuit(now)
        opened = self._opened(circuit, now)
        if not opened:
            self._count(circuit, now, is_failure)
        elif not self._is_open(circuit, now):
            if is_failure:
                self._open(circuit, now)
            else:
                self._judge(circuit, opened, now, is_success)

    def _count(self, circuit: str, now: float, is_failure: bool) -> None:
        counters, limits = self._counters, self._limits
        last = int(now // self._bucket_s)
        kept_s = self._bucket_s * (_BUCKETS + 1)
        counters.add(f"{circuit} asked {last}", 1, kept_s, now)
        if is_failure:
            counters.add(f"{circuit} failed {last}", 1, kept_s, now)
        buckets = range(last - _BUCKETS + 1, last + 1)
        asked = sum(counters.read(f"{circuit} asked {one}", now) for one in buckets)
        if asked >= limits.min_requests:
            failed = sum(counters.read(f"{circuit} failed {one}", now) for one in buckets)
            if failed >= limits.error_ratio * asked:
                self._open(circuit, now)

    def _judge(self, circuit: str, opened: int, now: float, is_success: bool) -> None:
        """Count a probe that did not fail; the last one closes the circuit or opens it again."""
        counters, limits = self._counters, self._limits
        good = f"{circuit} {opened} good"
        if is_success:
            counters.add(good, 1, limits.open_s, now)
        done, _ = counters.add(f"{circuit} {opened} done", 1, limits.open_s, now)
        if done < limits.probes:
            return
        if counters.read(good, now) >= limits.success_ratio * done:
            counters.add(f"{self._key} closed", 1, self._kept_s, now)
        else:
            self._open(circuit, now)

    def _open(self, circuit: str, now: float) -> None:
        self._counters.add(f"{circuit} opened", 1, self._kept_s, now)
        self._marks.move(circuit, now + self._limits.open_s)

    def _circuit(self, now: float) -> str:
        return f"{self._key} {self._counters.read(f'{self._key} closed', now)}"

    def _opened(self, circuit: str, now: float) -> int:
        return self._counters.read(f"{circuit} opened", now)

    def _is_open(self, circuit: str, now: float) -> bool:
        return self._marks.read(circuit, now) > now
