"""Fewest requests under way, by weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import count

from ...context import Context
from ..node import Node
from .base import Balancer

_Entry = tuple[float, int, Node]


class LeastConn(Balancer):
    """Pick the smallest ``(active + 1) / weight``; among equals the one idle longest.

    The counts live on the nodes, so they survive configuration changes. A heap holds one current
    entry per node and outdated ones, which are dropped when they come up: O(log n) a pick.

    Source: APISIX apisix/balancer/least_conn.lua.
    """

    def __init__(self, weights: Mapping[Node, int]) -> None:
        super().__init__(weights)
        self._order = count()
        self.use(list(weights))

    def use(self, nodes: Sequence[Node]) -> None:
        self._current = {node: self._entry(node) for node in nodes}
        self._refill()

    def pick(self, ctx: Context, tried: Collection[Node]) -> Node | None:
        heap, current = self._heap, self._current
        passed: list[_Entry] = []
        chosen = None
        while heap:
            entry = heap[0]
            node = entry[2]
            if current[node] is not entry:
                heappop(heap)
            elif node in tried:
                passed.append(heappop(heap))
            else:
                chosen = node
                break
        for entry in passed:
            heappush(heap, entry)
        return chosen

    def counted(self, node: Node) -> None:
        if node not in self._current:
            return
        self._current[node] = entry = self._entry(node)
        heappush(self._heap, entry)
        if len(self._heap) > 4 * len(self._current) + 64:
            self._refill()

    def _entry(self, node: Node) -> _Entry:
        return (node.active + 1) / self._weights[node], next(self._order), node

    def _refill(self) -> None:
        """Make the heap of current entries only."""
        self._heap = list(self._current.values())
        heapify(self._heap)
