"""Weighted round robin, smooth: the turns of a node are spread evenly over the cycle.

A node of weight w has turns due at 1/2w, 3/2w, 5/2w … of a cycle, and the earliest due is taken,
equal ones in the order of the nodes. In W picks, the total weight, every node has exactly w turns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush, heapreplace
from math import gcd

from ...context import Context
from ..node import Node
from .base import Balancer


class RoundRobin(Balancer):
    """O(log n) a pick. Starts at the first node, also after a change of the healthy ones.

    Differs: APISIX steps through weights by their gcd, from a random node; PingSIX gives a node all
    its turns in a row. The shares are the same.
    """

    def __init__(self, weights: Mapping[Node, int]) -> None:
        super().__init__(weights)
        self.use(list(weights))

    def use(self, nodes: Sequence[Node]) -> None:
        weights = [self._weights[node] for node in nodes]
        common = gcd(*weights)
        self._nodes = list(nodes)
        self._shares = [weight // common for weight in weights]
        self._cycle = sum(self._shares)
        self._first_turns = sorted(self._turn(index, 0) for index in range(len(self._nodes)))
        self._restart()

    def pick(self, ctx: Context, tried: Collection[Node]) -> Node | None:
        if tried:
            return self._pick_untried(tried)
        heap = self._turns
        _, index, taken = heap[0]
        taken += 1
        heapreplace(heap, ((2 * taken + 1) / (2 * self._shares[index]), index, taken))
        self._left -= 1
        if not self._left:
            self._restart()
        return self._nodes[index]

    def _pick_untried(self, tried: Collection[Node]) -> Node | None:
        heap = self._turns
        passed = []
        chosen = None
        while heap:
            turn = heappop(heap)
            _, index, taken = turn
            if self._nodes[index] not in tried:
                chosen = self._nodes[index]
                passed.append(self._turn(index, taken + 1))
                break
            passed.append(turn)
        for turn in passed:
            heappush(heap, turn)
        if chosen is not None:
            self._left -= 1
            if not self._left:
                self._restart()
        return chosen

    def _turn(self, index: int, taken: int) -> tuple[float, int, int]:
        return (2 * taken + 1) / (2 * self._shares[index]), index, taken

    def _restart(self) -> None:
        """Begin a cycle, so that the times stay small and exact."""
        self._turns = self._first_turns.copy()
        self._left = self._cycle
