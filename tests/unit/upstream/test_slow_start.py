"""Slow start: weights that grow, nodes that join, leave and come back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.model.upstream import WarmUp
from pingsix_asgi.upstream.node import Node
from pingsix_asgi.upstream.slow_start import SlowRoundRobin, Warming, effective_weight
from support.contexts import make_context
from support.upstreams import FakeClock


def conf(**fields: Any) -> WarmUp:
    return WarmUp(**{"slow_start_time_seconds": 300, "min_weight_percent": 1, **fields})


@pytest.mark.parametrize(
    ("elapsed", "fields", "weight"),
    [
        (0, {}, 1),
        (0, {"slow_start_time_seconds": 10}, 10),
        (30, {}, 10),
        (150, {}, 50),
        (300, {}, 100),
        (3000, {}, 100),
        (-1000, {}, 1),
        (1, {"min_weight_percent": 20}, 20),
        (30, {"aggression": 2}, 31),
        (30, {"aggression": 0.5}, 1),
    ],
)
def test_the_weight_of_a_moment(elapsed: float, fields: Any, weight: int) -> None:
    assert effective_weight(100, 10_000, conf(**fields), 10_000 + elapsed) == weight


@given(
    st.integers(1, 10_000), st.floats(0, 400), st.floats(0, 400), st.floats(0.01, 20),
    st.integers(1, 100),
)  # fmt: skip
def test_it_never_shrinks(
    whole: int, earlier: float, more: float, aggression: float, percent: int
) -> None:
    options = conf(aggression=aggression, min_weight_percent=percent)
    first = effective_weight(whole, 0, options, earlier)
    then = effective_weight(whole, 0, options, earlier + more)
    assert 1 <= first <= then <= whole


class Place:
    """An upstream's nodes under a clock that the test moves."""

    def __init__(self, options: WarmUp) -> None:
        self.clock = FakeClock()
        self.options = options
        self.warming = Warming("u")
        self.nodes = {name: Node("127.0.0.1", port) for port, name in enumerate("abc", 1)}

    def has(self, names: str) -> SlowRoundRobin:
        nodes = [self.nodes[name] for name in names]
        self.warming.arrange(nodes, self.options, self.clock.monotonic())
        weights = dict.fromkeys(nodes, 100)
        return SlowRoundRobin(weights, self.options, self.warming, self.clock.monotonic)

    def joins(self, names: str) -> SlowRoundRobin:
        balancer = self.has(names)
        balancer.use([self.nodes[name] for name in names])
        return balancer

    def shares(self, balancer: SlowRoundRobin, picks: int) -> dict[str, int]:
        ctx = make_context()
        counts = Counter(balancer.pick(ctx, ()) for _ in range(picks))
        return {name: counts[node] for name, node in self.nodes.items() if counts[node]}


def test_nodes_there_from_the_start_have_their_whole_weight() -> None:
    place = Place(conf())
    assert place.shares(place.joins("ab"), 20) == {"a": 10, "b": 10}


def test_a_node_that_joins_grows() -> None:
    place = Place(conf(slow_start_time_seconds=10))
    place.joins("a")
    balancer = place.joins("ab")
    assert place.shares(balancer, 11) == {"a": 10, "b": 1}
    place.clock.now += 5
    assert place.shares(balancer, 3) == {"a": 2, "b": 1}
    place.clock.now += 5
    assert place.shares(balancer, 20) == {"a": 10, "b": 10}
    assert place.shares(place.joins("ab"), 20) == {"a": 10, "b": 10}


def test_weights_change_once_an_interval() -> None:
    place = Place(conf(slow_start_time_seconds=10, interval=4))
    place.joins("a")
    balancer = place.joins("ab")
    place.clock.now += 3
    assert place.shares(balancer, 11) == {"a": 10, "b": 1}
    place.clock.now += 1
    assert place.shares(balancer, 7) == {"a": 5, "b": 2}


def test_it_goes_on_while_a_node_is_away_for_a_short_time() -> None:
    place = Place(conf(slow_start_time_seconds=10))
    place.joins("a")
    place.joins("ab")
    place.joins("a")
    place.clock.now += 5
    assert place.shares(place.joins("ab"), 3) == {"a": 2, "b": 1}


def test_a_node_that_was_away_for_long_begins_again() -> None:
    place = Place(conf(slow_start_time_seconds=10))
    place.joins("ab")
    place.joins("a")
    place.clock.now += 11
    assert place.shares(place.joins("ab"), 11) == {"a": 10, "b": 1}


def test_a_node_begins_when_requests_can_go_to_it() -> None:
    place = Place(conf(slow_start_time_seconds=10))
    place.joins("a")
    balancer = place.has("ab")
    balancer.use([place.nodes["a"]])
    assert place.shares(balancer, 5) == {"a": 5}
    place.clock.now += 100
    balancer.use([place.nodes["a"], place.nodes["b"]])
    assert place.shares(balancer, 11) == {"a": 10, "b": 1}


def test_nodes_that_join_in_the_time_of_grace_have_their_whole_weight() -> None:
    place = Place(conf(startup_grace_period_seconds=30))
    place.joins("a")
    place.clock.now += 29
    assert place.shares(place.joins("ab"), 20) == {"a": 10, "b": 10}
    place.clock.now += 2
    assert place.shares(place.joins("abc"), 201) == {"a": 100, "b": 100, "c": 1}


def test_a_node_alone_has_its_whole_weight() -> None:
    place = Place(conf())
    place.joins("a")
    place.joins("b")
    assert place.shares(place.joins("bc"), 101) == {"b": 100, "c": 1}
