"""Hash the key over a weighted list: fixed while the nodes stay, reshuffled when they change."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import ip_address
from itertools import accumulate

from ...context import Context
from ..node import Node
from .base import Balancer

_OFFSET_BASIS = 0xCBF29CE484222325
_PRIME = 0x100000001B3
_MASK = 0xFFFFFFFFFFFFFFFF

_MAX_STEPS = 256
"""How often Pingora hashes again in search of a ready node."""


def fnv1a(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash."""
    value = _OFFSET_BASIS
    for byte in data:
        value = (value ^ byte) * _PRIME & _MASK
    return value


class Fnv(Balancer):
    """Pick ``fnv1a(key) mod total weight`` of the nodes sorted by address.

    A node that is out or tried is stepped over: the hash is hashed again (as 8 little-endian bytes)
    modulo the number of nodes.

    Source: PingSIX ``type: fnv``, pingora-load-balancing selection/weighted.rs. APISIX has none.
    """

    def __init__(self, weights: Mapping[Node, int], key_of: Callable[[Context], bytes]) -> None:
        super().__init__(weights)
        self._key_of = key_of
        self._nodes = sorted(weights, key=_address_order)
        self._ends = list(accumulate(weights[node] for node in self._nodes))
        self._usable = frozenset(self._nodes)

    def use(self, nodes: Sequence[Node]) -> None:
        self._usable = frozenset(nodes)

    def pick(self, ctx: Context, tried: Collection[Node]) -> Node | None:
        nodes, usable = self._nodes, self._usable
        value = fnv1a(self._key_of(ctx))
        node = nodes[bisect(self._ends, value % self._ends[-1])]
        for _ in range(_MAX_STEPS):
            if node in usable and node not in tried:
                return node
            value = fnv1a(value.to_bytes(8, "little"))
            node = nodes[value % len(nodes)]
        return next((node for node in nodes if node in usable and node not in tried), None)


def _address_order(node: Node) -> tuple[int, bytes, str, int]:
    """Sort as socket addresses do: IPv4 first, by number; what is no address comes last."""
    try:
        address = ip_address(node.address)
    except ValueError:
        return 9, b"", node.address, node.port
    return address.version, address.packed, "", node.port
