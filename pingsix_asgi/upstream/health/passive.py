"""Passive checks: what requests of clients say about a node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import UpstreamError, UpstreamTimeout
from ...model.upstream import Upstream
from .check import Thresholds
from .status import Outcome


@dataclass(frozen=True, slots=True)
class Passive:
    """Which statuses count as what, and how many of one sort in a row turn the verdict."""

    healthy_statuses: frozenset[int]
    unhealthy_statuses: frozenset[int]
    thresholds: Thresholds

    def outcomes(self, status: int | None, error: UpstreamError | None) -> Iterator[Outcome]:
        """Tell what an attempt counts as: a ``status``, or an ``error``, which has one as well.

        Source: APISIX apisix/balancer.lua and init.lua. Differs: there a failed attempt counts by
        its sort when another follows, and by its status when it is the last; here always by both.
        """
        if error is not None:
            yield "timeout_failure" if isinstance(error, UpstreamTimeout) else "tcp_failure"
            status = error.status
        if status in self.unhealthy_statuses:
            yield "http_failure"
        elif status in self.healthy_statuses:
            yield "success"


def compile_passive(upstream: Upstream) -> Passive | None:
    """Return the passive check of an upstream, or None when it has none."""
    if upstream.checks is None or upstream.checks.passive is None:
        return None
    given = upstream.checks.passive
    judges_status = given.type != "tcp"
    return Passive(
        frozenset(given.healthy.http_statuses if judges_status else ()),
        frozenset(given.unhealthy.http_statuses if judges_status else ()),
        Thresholds(
            success=given.healthy.successes,
            http_failure=given.unhealthy.http_failures,
            tcp_failure=given.unhealthy.tcp_failures,
            timeout_failure=given.unhealthy.timeouts,
        ),
    )
