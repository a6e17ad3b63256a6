"""The contract of balancers, over every one of them, and what is special to each."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from math import gcd
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingsix_asgi.context import Context
from pingsix_asgi.upstream.balancer import Balancer, balancer_factory
from pingsix_asgi.upstream.balancer.ewma import Ewma
from pingsix_asgi.upstream.balancer.fnv import Fnv, fnv1a
from pingsix_asgi.upstream.balancer.ketama import MAX_UNITS, POINTS, Ketama
from pingsix_asgi.upstream.balancer.least_conn import LeastConn
from pingsix_asgi.upstream.balancer.random import Random
from pingsix_asgi.upstream.balancer.roundrobin import RoundRobin
from pingsix_asgi.upstream.node import Node
from support.upstreams import FakeClock, make_ctx, make_nodes

TYPES = ["roundrobin", "random", "fnv", "ketama", "chash", "least_conn", "ewma"]
WEIGHTS = st.lists(st.integers(1, 50), min_size=1, max_size=8)


def path_key(ctx: Context) -> bytes:
    return ctx.request.path.encode()


def make(type: str, weights: dict[Node, int]) -> Balancer:
    return balancer_factory(type, key_of=path_key, monotonic=FakeClock().monotonic)(weights)


# -- the contract


@pytest.mark.parametrize("type", TYPES)
@given(weights=WEIGHTS, dice=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_every_pick_is_usable_and_untried_until_all_are_tried(
    type: str, weights: list[int], dice: random.Random
) -> None:
    nodes = make_nodes(*weights)
    balancer = make(type, nodes)
    usable = dice.sample(list(nodes), dice.randint(1, len(nodes)))
    balancer.use([node for node in nodes if node in usable])
    for request in range(5):
        ctx, tried = make_ctx(f"/{request}"), list[Node]()
        for _ in usable:
            node = balancer.pick(ctx, tried)
            assert node in usable
            assert node not in tried
            tried.append(node)
        assert balancer.pick(ctx, tried) is None


@pytest.mark.parametrize("type", TYPES)
def test_a_recovered_node_is_picked_again(type: str) -> None:
    nodes = make_nodes(1, 1)
    first, second = nodes
    balancer = make(type, nodes)
    balancer.use([first])
    assert {balancer.pick(make_ctx(f"/{i}"), ()) for i in range(50)} == {first}
    balancer.use([first, second])
    seen = set()
    for i in range(200):
        node = balancer.pick(make_ctx(f"/{i}"), ())
        assert node is not None
        seen.add(node)
        node.active += 1
        balancer.counted(node)
    assert seen == {first, second}


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown balancer type 'best'"):
        balancer_factory("best", key_of=None, monotonic=FakeClock().monotonic)


# -- roundrobin


def turns(balancer: Balancer, count: int) -> list[Node]:
    picked = [balancer.pick(make_ctx(), ()) for _ in range(count)]
    assert None not in picked
    return picked  # type: ignore[return-value]  # just checked


@given(weights=WEIGHTS)
@settings(deadline=None)
def test_roundrobin_gives_exact_shares_in_every_cycle(weights: list[int]) -> None:
    nodes = make_nodes(*weights)
    balancer = RoundRobin(nodes)
    total = sum(weights) // gcd(*weights)
    first = turns(balancer, total)
    assert Counter(first) == {node: weight // gcd(*weights) for node, weight in nodes.items()}
    assert turns(balancer, total) == first


@given(weights=WEIGHTS)
@settings(deadline=None)
def test_roundrobin_is_smooth(weights: list[int]) -> None:
    nodes = make_nodes(*weights)
    total = sum(weights)
    seen: Counter[Node] = Counter()
    for count, node in enumerate(turns(RoundRobin(nodes), total), 1):
        seen[node] += 1
        for other, weight in nodes.items():
            due = count * weight / total
            assert abs(seen[other] - due) <= 0.5 + len(nodes) * weight / (2 * total) + 1e-9


def test_roundrobin_spreads_a_heavy_node_between_light_ones() -> None:
    nodes = make_nodes(5, 1, 1)
    letters = dict(zip(nodes, "abc", strict=True))
    assert "".join(letters[node] for node in turns(RoundRobin(nodes), 14)) == "aaabcaa" * 2
    equal = make_nodes(7, 7, 7)
    assert turns(RoundRobin(equal), 6) == [*equal, *equal]


def test_roundrobin_keeps_the_shares_of_the_healthy() -> None:
    nodes = make_nodes(1, 1, 1)
    balancer = RoundRobin(nodes)
    balancer.use([node for node in nodes if node.address != "10.0.0.2"])
    seen = Counter(node.address for node in turns(balancer, 10))
    assert seen == {"10.0.0.1": 5, "10.0.0.3": 5}


# -- random


def test_random_follows_the_weights() -> None:
    nodes = make_nodes(1, 3)
    balancer = Random(nodes, random.Random(7))
    seen = Counter(node.address for node in turns(balancer, 4000))
    assert 900 < seen["10.0.0.1"] < 1100


# -- fnv


def test_fnv1a_has_the_published_values() -> None:
    assert fnv1a(b"") == 0xCBF29CE484222325
    assert fnv1a(b"a") == 0xAF63DC4C8601EC8C
    assert fnv1a(b"foobar") == 0x85944171F73967E8


def test_fnv_takes_the_hash_modulo_the_weighted_list_sorted_by_address() -> None:
    high, low = Node("10.0.0.9", 80), Node("9.0.0.1", 80)
    balancer = Fnv({high: 2, low: 3}, path_key)
    expanded = [low, low, low, high, high]
    for number in range(50):
        path = f"/{number}"
        assert balancer.pick(make_ctx(path), ()) is expanded[fnv1a(path.encode()) % 5]


def test_fnv_hashes_the_hash_when_the_node_is_out() -> None:
    nodes = make_nodes(1, 1, 1)
    ordered = list(nodes)
    balancer = Fnv(nodes, path_key)
    value = fnv1a(b"/x")
    first = ordered[value % 3]
    expected = first
    while expected is first:
        value = fnv1a(value.to_bytes(8, "little"))
        expected = ordered[value % 3]
    assert balancer.pick(make_ctx("/x"), ()) is first
    assert balancer.pick(make_ctx("/x"), [first]) is expected
    balancer.use([node for node in ordered if node is not first])
    assert balancer.pick(make_ctx("/x"), ()) is expected


def test_fnv_sorts_ipv6_after_ipv4_and_the_app_last() -> None:
    addresses = ["10.0.0.1", "::1", "@app"]
    balancer = Fnv({Node(address, 80): 1 for address in reversed(addresses)}, path_key)
    for path in "/a", "/b", "/c", "/d":
        node = balancer.pick(make_ctx(path), ())
        assert node is not None
        assert node.address == addresses[fnv1a(path.encode()) % 3]


# -- ketama, chash


def naive_owner(nodes: dict[Node, int], key: bytes) -> Node:
    """Nginx's ring as its documentation of ketama tells it, one point after the other."""
    points = []
    for node, weight in nodes.items():
        last = b"\0\0\0\0"
        for _ in range(weight // gcd(*nodes.values()) * POINTS):
            point = crc32(f"{node.address}\0{node.port}".encode() + last)
            last = point.to_bytes(4, "little")
            points.append((point, node.address, node))
    points.sort(key=lambda item: item[:2])
    wanted = crc32(key)
    return next((node for point, _, node in points if point >= wanted), points[0][2])


@given(
    weights=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    keys=st.lists(st.binary(), max_size=20),
)
@settings(max_examples=30, deadline=None)
def test_ketama_agrees_with_a_naive_ring(weights: list[int], keys: list[bytes]) -> None:
    nodes = make_nodes(*weights)
    wanted = [b""]
    balancer = Ketama(nodes, lambda ctx: wanted[0])
    for key in keys:
        wanted[0] = key
        assert balancer.pick(make_ctx(), ()) is naive_owner(nodes, key)


@given(count=st.integers(2, 8), gone=st.integers(0, 7))
@settings(max_examples=20, deadline=None)
def test_ketama_moves_only_the_keys_of_a_removed_node(count: int, gone: int) -> None:
    nodes = make_nodes(*[1] * count)
    removed = list(nodes)[gone % count]
    rest = {node: 1 for node in nodes if node is not removed}
    before, after, marked = Ketama(nodes, path_key), Ketama(rest, path_key), Ketama(nodes, path_key)
    marked.use(list(rest))
    for number in range(300):
        ctx = make_ctx(f"/{number}")
        was = before.pick(ctx, ())
        now = after.pick(ctx, ())
        if was is not removed:
            assert now is was
        assert marked.pick(ctx, ()) is now
        assert before.pick(ctx, [removed]) is now


def test_ketama_spreads_keys_by_weight() -> None:
    balancer = Ketama(make_nodes(1, 3), path_key)
    picked = [balancer.pick(make_ctx(f"/{number}"), ()) for number in range(4000)]
    seen = Counter(node.address for node in picked if node is not None)
    assert 0.18 < seen["10.0.0.1"] / 4000 < 0.32


def test_ketama_bounds_the_ring_of_huge_weights() -> None:
    light, heavy = make_nodes(1, 1)
    balancer = Ketama({light: 1, heavy: 10_000_000}, path_key)
    assert len(balancer._points) <= (MAX_UNITS + 2) * POINTS
    picked = {balancer.pick(make_ctx(f"/{number}"), ()) for number in range(10_000)}
    assert picked == {light, heavy}


def test_ketama_reaches_the_second_of_two_names_for_one_address() -> None:
    one, twin = Node("a.test", 80, address="10.0.0.1"), Node("b.test", 80, address="10.0.0.1")
    balancer = Ketama({one: 1, twin: 1}, path_key)
    first = balancer.pick(make_ctx(), ())
    assert first is not None
    assert balancer.pick(make_ctx(), [first]) is (twin if first is one else one)


_PICKS = """
from support.upstreams import make_ctx, make_nodes
from pingsix_asgi.upstream.balancer import balancer_factory
for type in ("roundrobin", "fnv", "ketama"):
    make = balancer_factory(type, key_of=lambda ctx: ctx.request.path.encode(), monotonic=float)
    balancer = make(make_nodes(3, 2, 5))
    print(*(balancer.pick(make_ctx(f"/{i}"), ()).address for i in range(40)))
"""


def test_picks_are_the_same_in_every_process() -> None:
    answers = {
        subprocess.run(
            [sys.executable, "-c", _PICKS],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
    assert answers.pop().count("10.0.0.") == 120


# -- least_conn


def serve(balancer: Balancer, node: Node) -> None:
    node.active += 1
    balancer.counted(node)


def release(balancer: Balancer, node: Node) -> None:
    node.active -= 1
    balancer.counted(node)


@given(weights=WEIGHTS, dice=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_least_conn_picks_the_smallest_score(weights: list[int], dice: random.Random) -> None:
    nodes = make_nodes(*weights)
    balancer = LeastConn(nodes)
    busy: list[Node] = []
    for _ in range(150):
        if busy and dice.random() < 0.45:
            release(balancer, busy.pop(dice.randrange(len(busy))))
            continue
        node = balancer.pick(make_ctx(), ())
        assert node is not None
        best = min((other.active + 1) / weight for other, weight in nodes.items())
        assert (node.active + 1) / nodes[node] == best
        serve(balancer, node)
        busy.append(node)
    assert len(balancer._heap) <= 4 * len(nodes) + 65


def test_least_conn_takes_turns_when_idle() -> None:
    nodes = make_nodes(1, 1, 1)
    balancer = LeastConn(nodes)
    seen = []
    for _ in range(6):
        node = balancer.pick(make_ctx(), ())
        assert node is not None
        serve(balancer, node)
        release(balancer, node)
        seen.append(node)
    assert seen == [*nodes, *nodes]


def test_least_conn_starts_from_the_counts_of_the_nodes() -> None:
    nodes = make_nodes(1, 1)
    first, second = nodes
    first.active = 3
    balancer = LeastConn(nodes)
    for _ in range(3):
        assert balancer.pick(make_ctx(), ()) is second
        serve(balancer, second)
    serve(balancer, second)
    assert balancer.pick(make_ctx(), ()) is first


def test_least_conn_ignores_nodes_it_does_not_have() -> None:
    nodes = make_nodes(1, 1)
    balancer = LeastConn(nodes)
    stranger = Node("10.9.9.9", 80)
    serve(balancer, stranger)
    release(balancer, stranger)
    assert balancer.pick(make_ctx(), ()) in nodes


# -- ewma


def ewma_pair() -> tuple[Ewma, FakeClock, Node, Node]:
    nodes = make_nodes(1, 100)
    clock = FakeClock()
    return Ewma(nodes, clock.monotonic, random.Random(3)), clock, *nodes


def picks_of(balancer: Balancer, count: int = 30) -> set[Node]:
    return set(turns(balancer, count))


def test_ewma_prefers_the_faster_of_two_whatever_the_weights() -> None:
    balancer, _, fast, slow = ewma_pair()
    balancer.learn(fast, 0.1)
    balancer.learn(slow, 0.2)
    assert picks_of(balancer) == {fast}


def test_ewma_scores_by_decay() -> None:
    balancer, clock, node, _ = ewma_pair()
    balancer.learn(node, 1.0)
    assert node.score == 1.0
    clock.now += 10.0
    balancer.learn(node, 0.0)
    assert node.score == pytest.approx(0.3679, abs=1e-4)


def test_ewma_tries_a_node_without_samples_first() -> None:
    balancer, _, known, new = ewma_pair()
    balancer.learn(known, 0.001)
    assert picks_of(balancer) == {new}


def test_ewma_forgets_a_node_after_a_minute() -> None:
    balancer, clock, slow, fast = ewma_pair()
    balancer.learn(slow, 50.0)
    clock.now += 59.0
    balancer.learn(fast, 0.01)
    assert picks_of(balancer) == {fast}
    clock.now += 2.0
    assert picks_of(balancer) == {slow}


def test_ewma_compares_two_of_many() -> None:
    nodes = make_nodes(*[1] * 10)
    balancer = Ewma(nodes, FakeClock().monotonic, random.Random(5))
    for rank, node in enumerate(nodes):
        balancer.learn(node, 0.1 + rank)
    seen = Counter(node.address for node in turns(balancer, 2000))
    assert seen["10.0.0.1"] > seen["10.0.0.5"] > seen["10.0.0.9"]
    assert seen["10.0.0.10"] == 0
