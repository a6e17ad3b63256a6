"""Slow start: nodes that join an upstream get their share of requests little by little.

Source: APISIX ``warm_up_conf`` (t/node, t/admin/upstream-slow-start.t). Differs: every worker keeps
its own times, which are the same but for the moment a change reaches it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf

from ..clock import Clock
from ..context import Context
from ..model.upstream import WarmUp
from .balancer import Balancer, BalancerFactory
from .balancer.roundrobin import RoundRobin
from .node import Node

logger = logging.getLogger("pingsix_asgi.upstream")

_MATURE = -inf
"""When a node began that has its whole weight."""
_WAITING = inf
"""When a node begins that no request could go to yet."""


class Warming:
    """When the nodes of one upstream began to take requests; shared by its revisions.

    The nodes it starts with have their whole weight. A node that leaves and comes back before the
    time of a slow start has passed goes on as if it had stayed.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._born: float | None = None
        self._began: dict[str, float] = {}
        self._left: dict[str, float] = {}

    def arrange(self, nodes: Collection[Node], conf: WarmUp, now: float) -> None:
        """Note which nodes there are now."""
        names = {node.name for node in nodes}
        if names and self._born is None:
            self._born = now
            self._began = dict.fromkeys(names, _MATURE)
        for name in [name for name in self._began if name not in names]:
            self._left.setdefault(name, now)
            if now - self._left[name] > conf.slow_start_time_seconds:
                del self._left[name], self._began[name]
        for name in names:
            left = self._left.pop(name, None)
            if left is not None and now - left > conf.slow_start_time_seconds:
                del self._began[name]
            self._began.setdefault(name, self._beginning(conf, now))
        if len(names) == 1:  # it takes every request, whatever its weight
            self._began.update(dict.fromkeys(names, _MATURE))

    def enter(self, nodes: Collection[Node], now: float) -> None:
        """Note which nodes can be picked now; a new one begins with that."""
        for node in nodes:
            if self._began.get(node.name) == _WAITING:
                self._began[node.name] = now
                logger.info("upstream %s: node %s starts slowly", self._name, node.name)

    def weight(self, node: Node, whole: int, conf: WarmUp, now: float) -> int:
        """Return the weight of the moment, at least 1."""
        return effective_weight(whole, self._began.get(node.name, _MATURE), conf, now)

    def is_over(self, conf: WarmUp, now: float) -> bool:
        """Tell whether every node has its whole weight."""
        return all(now - began >= conf.slow_start_time_seconds for began in self._began.values())

    def _beginning(self, conf: WarmUp, now: float) -> float:
        age = now - (now if self._born is None else self._born)
        return _MATURE if age < conf.startup_grace_period_seconds else _WAITING


def effective_weight(whole: int, began: float, conf: WarmUp, now: float) -> int:
    """Return the share of ``whole`` for a node that ``began`` then (monotonic seconds), at least 1.

    The first second counts as passed. ``aggression`` 1 is a straight line.
    """
    window = conf.slow_start_time_seconds
    progress = min(max(now - began, 1.0) / window, 1.0)
    share = max(progress ** (1 / conf.aggression), conf.min_weight_percent / 100)
    return max(1, int(whole * share + 1e-9))


def slow_start_factory(conf: WarmUp, warming: Warming, clock: Clock) -> BalancerFactory:
    """Return what makes the balancer of an upstream with a slow start."""
    return lambda weights: SlowRoundRobin(weights, conf, warming, clock.monotonic)


class SlowRoundRobin(RoundRobin):
    """Round robin with weights that are looked at again every ``interval`` of a slow start."""

    def __init__(
        self,
        weights: Mapping[Node, int],
        conf: WarmUp,
        warming: Warming,
        monotonic: Callable[[], float],
    ) -> None:
        self._whole, self._conf, self._warming = weights, conf, warming
        self._monotonic = monotonic
        Balancer.__init__(self, weights)  # nothing is used before it is known which nodes can be

    def use(self, nodes: Sequence[Node]) -> None:
        now = self._monotonic()
        self._usable = nodes
        self._warming.enter(nodes, now)
        self._weights = {
            node: self._warming.weight(node, whole, self._conf, now)
            for node, whole in self._whole.items()
        }
        is_over = self._warming.is_over(self._conf, now)
        self._due = inf if is_over else now + self._conf.interval
        super().use(nodes)

    def pick(self, ctx: Context, tried: Collection[Node]) -> Node | None:
        if self._monotonic() >= self._due:
            self.use(self._usable)
        return super().pick(ctx, tried)
