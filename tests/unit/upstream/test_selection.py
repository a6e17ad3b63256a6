"""Priority groups, health, weight 0 and the single node."""

from __future__ import annotations

import logging

import pytest

from pingsix_asgi.errors import NoNode
from pingsix_asgi.upstream.balancer.roundrobin import RoundRobin
from pingsix_asgi.upstream.node import Node
from pingsix_asgi.upstream.selection import HealthRevision, Member, Selection
from support.upstreams import FakeClock, make_ctx


class Verdict:
    """Health that a test sets."""

    def __init__(self) -> None:
        self.is_healthy = True


class Rig:
    """A selection over nodes given as (name, weight, priority)."""

    def __init__(self, *members: tuple[str, int, int]) -> None:
        self.nodes = {name: Node(name, 80) for name, _, _ in members}
        self.verdicts = {name: Verdict() for name in self.nodes}
        for name, node in self.nodes.items():
            node.health = self.verdicts[name]
        self.clock = FakeClock()
        self.revision = HealthRevision()
        self.selection = Selection(
            [Member(self.nodes[name], weight, priority) for name, weight, priority in members],
            RoundRobin,
            name="u1",
            clock=self.clock,
            health=self.revision,
        )

    def set_health(self, **healthy: bool) -> None:
        for name, is_healthy in healthy.items():
            self.verdicts[name].is_healthy = is_healthy
        self.revision.number += 1

    def pick(self, *tried: str) -> str:
        return self.selection.pick(make_ctx(), [self.nodes[name] for name in tried]).host

    def picks(self, count: int = 12) -> str:
        return "".join(sorted({self.pick() for _ in range(count)}))


def test_a_lower_group_is_used_only_when_the_higher_is_exhausted() -> None:
    rig = Rig(("c", 1, -1), ("a", 1, 5), ("b", 1, 5), ("d", 1, -1))
    assert rig.picks() == "ab"
    assert rig.pick("a") == "b"
    assert rig.pick("a", "b") in "cd"
    assert rig.pick("a", "b", "c") == "d"
    with pytest.raises(NoNode, match="u1: all 4 nodes"):
        rig.pick("a", "b", "c", "d")


def test_a_group_without_a_healthy_node_is_passed_over() -> None:
    rig = Rig(("a", 1, 1), ("b", 1, 1), ("c", 1, 0))
    rig.set_health(a=False)
    assert rig.picks() == "b"
    assert rig.pick("b") == "c"
    rig.set_health(b=False)
    assert rig.picks() == "c"
    rig.set_health(a=True)
    assert rig.picks() == "a"


def test_unhealthy_nodes_are_no_retry_targets_while_one_is_healthy() -> None:
    rig = Rig(("a", 1, 0), ("b", 1, 0))
    rig.set_health(b=False)
    with pytest.raises(NoNode):
        rig.pick("a")


def test_with_nobody_healthy_all_are_used_and_a_warning_is_logged_at_times(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(("a", 1, 1), ("b", 1, 0))
    with caplog.at_level(logging.WARNING, "pingsix_asgi.upstream"):
        rig.set_health(a=False, b=False)
        assert rig.picks() == "a"
        assert rig.pick("a") == "b"
        assert [record.getMessage() for record in caplog.records] == [
            "upstream u1: none of 2 nodes is healthy, using them all"
        ]
        rig.set_health(a=False)
        rig.pick()
        assert len(caplog.records) == 1
        rig.clock.now += 11
        rig.set_health(a=False)
        rig.pick()
        assert len(caplog.records) == 2


def test_weight_0_takes_a_node_out_of_every_group() -> None:
    rig = Rig(("a", 0, 5), ("b", 1, 0), ("c", 2, 0))
    assert rig.picks() == "bc"
    assert len(rig.selection.nodes) == 2
    with pytest.raises(NoNode):
        rig.pick("b", "c")


def test_weight_0_is_used_when_no_node_with_a_weight_is_healthy() -> None:
    rig = Rig(("a", 1, 0), ("b", 0, 0), ("c", 0, 0))
    assert rig.picks() == "a"
    rig.set_health(a=False)
    assert rig.picks() == "bc"
    rig.set_health(b=False, c=False)
    assert rig.picks() == "a"


def test_nodes_are_equal_when_all_have_weight_0() -> None:
    rig = Rig(("a", 0, 0), ("b", 0, 0))
    assert [rig.pick() for _ in range(4)] == ["a", "b", "a", "b"]


def test_a_single_node_is_picked_whatever_happened() -> None:
    rig = Rig(("a", 1, 0))
    rig.set_health(a=False)
    assert rig.pick() == "a"
    assert rig.pick("a") == "a"
