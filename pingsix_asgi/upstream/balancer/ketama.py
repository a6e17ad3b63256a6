"""Consistent hashing: a node that comes or goes moves only its own share of the keys."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from math import gcd
from zlib import crc32

from ...context import Context
from ..node import Node
from .base import Balancer

POINTS = 160
"""Ring points per unit of weight, as in nginx and lua-resty-balancer."""

MAX_UNITS = 1024
"""Weight units a ring holds at most (164 000 points, some 60 ms to make); larger weights are scaled
down, which changes shares by less than one unit."""


class Ketama(Balancer):
    """A ring of CRC-32 points; a key belongs to the first point at or after its own CRC-32.

    The ring holds all nodes of the group. One that is out or tried is skipped while picking, so its
    keys go to the next nodes on the ring and come back with it. O(log points) a pick.

    Source: APISIX ``type: chash`` (weights by their gcd) and PingSIX ``type: ketama``, which share
    nginx's points: CRC-32 of address, NUL, port, and the point before as 4 little-endian bytes.
    Differs: with a common divisor in the weights PingSIX makes more points.
    """

    def __init__(self, weights: Mapping[Node, int], key_of: Callable[[Context], bytes]) -> None:
        super().__init__(weights)
        self._key_of = key_of
        self._points, self._owners = _ring(_units(weights))
        self._usable: frozenset[Node] | None = None

    def use(self, nodes: Sequence[Node]) -> None:
        self._usable = None if len(nodes) == len(self._weights) else frozenset(nodes)

    def pick(self, ctx: Context, tried: Collection[Node]) -> Node | None:
        place = bisect_left(self._points, crc32(self._key_of(ctx)))
        owners = self._owners
        if place == len(owners):
            place = 0
        usable = self._usable
        if usable is None and not tried:
            return owners[place]
        candidates = usable if usable is not None else self._weights
        if all(node in tried for node in candidates):
            return None
        for step in range(place - len(owners), place):
            if owners[step] in candidates and owners[step] not in tried:
                return owners[step]
        return next(node for node in candidates if node not in tried)  # twin of another node


def _units(weights: Mapping[Node, int]) -> dict[Node, int]:
    common = gcd(*weights.values())
    total = sum(weights.values()) // common
    if total <= MAX_UNITS:
        return {node: weight // common for node, weight in weights.items()}
    return {
        node: max(1, round(weight * MAX_UNITS / (total * common)))
        for node, weight in weights.items()
    }


def _ring(units: Mapping[Node, int]) -> tuple[list[int], list[Node]]:
    """Return the sorted points and, in the same order, whose they are."""
    owner_of: dict[int, Node] = {}
    for node in sorted(units, key=lambda node: (node.address, node.port)):
        identity = crc32(b"%s\0%d" % (node.address.encode(), node.port))
        point = 0
        for _ in range(units[node] * POINTS):
            point = crc32(point.to_bytes(4, "little"), identity)
            owner_of.setdefault(point, node)
    points = sorted(owner_of)
    return points, [owner_of[point] for point in points]
