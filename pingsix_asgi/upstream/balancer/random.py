"""Weighted random choice."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

from ...context import Context
from ..node import Node
from .base import Balancer


class Random(Balancer):
    """O(log n) a pick.

    Source: PingSIX ``type: random``; APISIX has none.
    """

    def __init__(self, weights: Mapping[Node, int], source: random.Random | None = None) -> None:
        super().__init__(weights)
        self._random = (source or random).random
        self.use(list(weights))

    def use(self, nodes: Sequence[Node]) -> None:
        self._nodes = list(nodes)
        self._ends = list(accumulate(self._weights[node] for node in nodes))

    def pick(self, ctx: Context, tried: Collection[Node]) -> Node | None:
        if tried:
            return self._pick_untried(tried)
        return self._nodes[bisect(self._ends, self._random() * self._ends[-1])]

    def _pick_untried(self, tried: Collection[Node]) -> Node | None:
        nodes = [node for node in self._nodes if node not in tried]
        if not nodes:
            return None
        ends = list(accumulate(self._weights[node] for node in nodes))
        return nodes[bisect(ends, self._random() * ends[-1])]
