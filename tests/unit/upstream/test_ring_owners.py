"""Which node a key belongs to: what is known of APISIX's ring, as its tests observe it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from pingsix_asgi.upstream.balancer.ketama import Ketama
from pingsix_asgi.upstream.node import Node
from support.upstreams import make_ctx

OWNERS = [
    ("127.0.0.1", 2, 1980),
    ("127.0.0.1", 3, 1982),
    ("jack", 2, 1981),
    ("tom", 2, 1980),
    ("custom-one", 2, 1980),
    ("custom-one-custom-two", 2, 1980),
    ("cuscookie", 2, 1981),
]
SHARES = [
    ([f"var=2&var2={n}" for n in range(1, 19)], 3, {1980: 5, 1981: 8, 1982: 5}),
    ([str(n) for n in range(1, 19)], 3, {1980: 6, 1981: 7, 1982: 5}),
    ([f"chash_val_{n}" for n in range(1, 7)], 2, {1980: 3, 1981: 3}),
]


def owners(count: int, keys: Iterable[str]) -> list[int]:
    """Return the ports of the owners of some keys, among nodes at ports from 1980 on."""
    nodes = {Node("127.0.0.1", 1980 + number): 1 for number in range(count)}
    found = []
    for key in keys:
        node = Ketama(nodes, lambda ctx, key=key: key.encode()).pick(make_ctx(), ())
        assert node is not None
        found.append(node.port)
    return found


@pytest.mark.parametrize(("key", "count", "port"), OWNERS)
def test_owner(key: str, count: int, port: int) -> None:
    assert owners(count, [key]) == [port]


@pytest.mark.parametrize(("keys", "count", "shares"), SHARES, ids=["query", "argument", "header"])
def test_shares(keys: list[str], count: int, shares: dict[int, int]) -> None:
    assert Counter(owners(count, keys)) == shares
