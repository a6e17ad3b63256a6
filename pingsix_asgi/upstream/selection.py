"""Which node next: priority groups over a balancer, healthy nodes before the others."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..clock import Clock
from ..context import Context
from ..errors import NoNode
from .balancer import Balancer, BalancerFactory
from .node import Node

logger = logging.getLogger("pingsix_asgi.upstream")

WARNING_INTERVAL_S = 10.0
"""Least time between two warnings that an upstream has no healthy node."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node with what this configuration says of it; the node itself is shared by revisions."""

    node: Node
    weight: int
    priority: int


class HealthRevision:
    """Counts changes of health of an upstream's nodes, so that a pick compares one number."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class Selection:
    """The nodes of an upstream at one moment, in groups of equal priority.

    A group is used only when every healthy node of the higher ones was tried. When no node of any
    group is healthy, all are used. A node of weight 0 is picked only when no healthy node has a
    weight. A single node is picked whatever its health, and again when it was tried.

    Source: APISIX apisix/balancer.lua, balancer/priority.lua. Differs: weight 0 drains a node for
    every algorithm (``ewma`` too), and across groups.
    """

    def __init__(
        self,
        members: Sequence[Member],
        factory: BalancerFactory,
        *,
        name: str,
        clock: Clock,
        health: HealthRevision,
    ) -> None:
        drained = [member for member in members if not member.weight]
        if len(drained) == len(members):
            drained = []
        members = [member for member in members if member not in drained]
        self.nodes = [member.node for member in members]
        """The nodes that can be picked: at least one."""
        self._name, self._clock, self._health = name, clock, health
        self.single = self.nodes[0] if len(self.nodes) == 1 and not drained else None
        """The only node there is to pick."""
        self._groups = [(list(group), factory(group)) for group in _by_priority(members)]
        self._drained = [(list(group), factory(group)) for group in _by_priority(drained)]
        self._seen_health = -1
        self._warned_at: float | None = None
        self._usable: list[Balancer] = []

    def pick(self, ctx: Context, tried: Collection[Node]) -> Node:
        """Return the node for the next attempt. Raises NoNode when all usable ones were tried."""
        if self.single is not None:
            return self.single
        if self._seen_health != self._health.number:
            self._sort_out()
        for balancer in self._usable:
            node = balancer.pick(ctx, tried)
            if node is not None:
                return node
        raise NoNode(f"upstream {self._name}: all {len(self.nodes)} nodes are out or were tried")

    def counted(self, node: Node) -> None:
        """Tell the balancers that the number of requests under way at ``node`` changed."""
        for _, balancer in self._groups:
            balancer.counted(node)

    def learn(self, node: Node, sample_s: float) -> None:
        """Tell the balancers how long ``node`` took to answer."""
        for _, balancer in self._groups:
            balancer.learn(node, sample_s)

    def _sort_out(self) -> None:
        """Give the balancers the nodes that are healthy now."""
        self._seen_health = self._health.number
        usable = _healthy(self._groups) or _healthy(self._drained)
        if not usable:
            self._warn()
            for nodes, balancer in self._groups:
                balancer.use(nodes)
                usable.append(balancer)
        self._usable = usable

    def _warn(self) -> None:
        now = self._clock.monotonic()
        if self._warned_at is None or now - self._warned_at >= WARNING_INTERVAL_S:
            self._warned_at = now
            logger.warning(
                "upstream %s: none of %d nodes is healthy, using them all",
                self._name,
                len(self.nodes),
            )


def _healthy(groups: Sequence[tuple[list[Node], Balancer]]) -> list[Balancer]:
    """Return the balancers that have a healthy node, told which ones those are."""
    usable = []
    for nodes, balancer in groups:
        healthy = [node for node in nodes if node.health.is_healthy]
        if healthy:
            balancer.use(healthy)
            usable.append(balancer)
    return usable


def _by_priority(members: Sequence[Member]) -> list[dict[Node, int]]:
    """Return node to weight for each priority, the highest first."""
    groups: dict[int, dict[Node, int]] = {}
    for member in members:
        group = groups.setdefault(member.priority, {})
        group[member.node] = member.weight or 1
    return [groups[priority] for priority in sorted(groups, reverse=True)]
