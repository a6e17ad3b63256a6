"""The verdict on one node: four counters and the state they lead to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from .check import Thresholds

logger = logging.getLogger("pingsix_asgi.health")

State = Literal["healthy", "mostly_healthy", "unhealthy", "mostly_unhealthy"]
Outcome = Literal["success", "http_failure", "tcp_failure", "timeout_failure"]


class NodeHealth:
    """Starts healthy, counts outcomes, and says so when the verdict changes.

    ``healthy`` turns ``mostly_healthy`` with the first failure and ``unhealthy`` when one sort of
    failure reaches its threshold; a success in between clears the failures. The way back is the
    same with successes, by ``mostly_unhealthy``. "Mostly" does not change the verdict.

    Source: lua-resty-healthcheck, ``incr_counter``.
    """

    __slots__ = ("_changed", "_label", "counters", "is_healthy", "state")

    def __init__(self, label: str, changed: Callable[[], None]) -> None:
        self._label, self._changed = label, changed
        self.reset()

    def reset(self) -> None:
        """Forget everything: nobody checks this node any more, so nothing would bring it back."""
        self.state: State = "healthy"
        self.is_healthy = True
        self.counters: dict[Outcome, int] = {
            "success": 0,
            "http_failure": 0,
            "tcp_failure": 0,
            "timeout_failure": 0,
        }

    def report(self, outcome: Outcome, thresholds: Thresholds) -> None:
        """Count one outcome. A threshold of 0 disables its sort."""
        limit = getattr(thresholds, outcome)
        full: State = "healthy" if outcome == "success" else "unhealthy"
        if limit == 0 or self.state == full:
            return
        count = self.counters[outcome] + 1
        if outcome == "success":
            self.counters = dict.fromkeys(self.counters, 0)
        else:
            self.counters["success"] = 0
        self.counters[outcome] = count
        if count >= limit:
            self._enter(full, outcome, count)
        elif self.state == "healthy":
            self.state = "mostly_healthy"
        elif self.state == "unhealthy":
            self.state = "mostly_unhealthy"

    def _enter(self, state: State, outcome: Outcome, count: int) -> None:
        self.state = state
        is_healthy = state == "healthy"
        if is_healthy == self.is_healthy:
            return
        self.is_healthy = is_healthy
        logger.log(
            logging.INFO if is_healthy else logging.WARNING,
            "%s is %s: %s %d times in a row",
            self._label,
            state,
            outcome,
            count,
            extra={"node": self._label, "status": state, "outcome": outcome},
        )
        self._changed()
