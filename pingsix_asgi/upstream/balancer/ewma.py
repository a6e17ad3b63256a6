"""Two random nodes, the faster one: by an average of response times that forgets."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from math import exp

from ...context import Context
from ..node import Node
from .base import Balancer

DECAY_S = 10.0
"""Time in which a sample loses 63 % of its say."""

LIFETIME_S = 60.0
"""A node not used for this long counts as new."""


class Ewma(Balancer):
    """O(1) a pick. Weights are ignored; a node without samples scores best, so it gets some.

    Source: APISIX apisix/balancer/ewma.lua.
    """

    def __init__(
        self,
        weights: Mapping[Node, int],
        monotonic: Callable[[], float],
        source: random.Random | None = None,
    ) -> None:
        super().__init__(weights)
        self._monotonic = monotonic
        self._random = (source or random).random
        self._nodes = list(weights)

    def use(self, nodes: Sequence[Node]) -> None:
        self._nodes = list(nodes)

    def pick(self, ctx: Context, tried: Collection[Node]) -> Node | None:
        nodes = self._nodes
        if tried:
            nodes = [node for node in nodes if node not in tried]
        if len(nodes) < 2:
            return nodes[0] if nodes else None
        first = int(self._random() * len(nodes))
        second = int(self._random() * (len(nodes) - 1))
        if second >= first:
            second += 1
        now = self._monotonic()
        one, other = nodes[first], nodes[second]
        return one if _score(one, now) <= _score(other, now) else other

    def learn(self, node: Node, sample_s: float) -> None:
        now = self._monotonic()
        age = now - node.scored_at
        kept = exp(-age / DECAY_S) if age < LIFETIME_S else 0.0
        node.score = node.score * kept + sample_s * (1.0 - kept)
        node.scored_at = now


def _score(node: Node, now: float) -> float:
    age = now - node.scored_at
    return node.score * exp(-age / DECAY_S) if age < LIFETIME_S else 0.0
