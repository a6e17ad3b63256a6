"""Health checks and live changes, seen by clients of a running gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.conformance import Bench, Node
from support.conformance_core import Step, ask, delete, node, patch, put, route, run, spread, take
from support.processes import free_port


def checks(path: str = "/hello") -> dict[str, Any]:
    """Probe once a second; one success or one failure turns the verdict."""
    healthy = {"interval": 1, "successes": 1}
    unhealthy = {"interval": 1, "http_failures": 1, "tcp_failures": 1}
    return {"active": {"http_path": path, "healthy": healthy, "unhealthy": unhealthy}}


def passive(**unhealthy: Any) -> dict[str, Any]:
    """Count what clients get, over probes that hardly ever come."""
    rare = {"healthy": {"interval": 600}, "unhealthy": {"interval": 600}}
    return {
        "active": {"http_path": "/hello", **rare},
        "passive": {"healthy": {"successes": 3}, "unhealthy": unhealthy},
    }


def only(*names: str) -> Callable[[list[str]], bool]:
    return lambda found: set(found) == set(names)


# each case has a route of its own: a node keeps its verdict through changes of a route
CASES: dict[str, list[Step]] = {
    "a node that refuses is left out": [
        put("routes/health-1", route("/a", upstream=node("A", "closed", retries=0,
                                                         checks=checks()))),
        spread("/a", 12, only("A"), eventually=True),
    ],
    "so does hashing": [
        put("routes/health-2", route("/a", upstream=node("A", "closed", type="chash", key="uri",
                                                  retries=0, checks=checks()))),
        spread("/a", 4, only("A"), eventually=True),
    ],
    "all nodes are used when none is healthy": [
        put("routes/health-3", route("/a", upstream=node("A", "B", checks=checks("/status/500")))),
        spread("/a", 8, only("A", "B"), eventually=True),
    ],
    "failures of clients' requests count": [
        put("routes/health-4", route("/*", upstream=node("A", "closed", retries=0,
                                                  checks=passive(tcp_failures=1)))),
        ask("/a", eventually=True, status=502),
        spread("/a", 12, only("A")),
    ],
    "so do statuses": [
        put("routes/health-5", route("/*", upstream=node("A", "B", checks=passive(
            http_statuses=[500], http_failures=1)))),
        ask("/status/500", status=500),
        spread("/a", 8, lambda names: len(set(names)) == 1),
    ],
    "a drained node helps out": [
        put("routes/health-6", route("/a", upstream={
            "type": "roundrobin", "nodes": {"{A}": 0, "{closed}": 1}, "retries": 0,
            "checks": passive(http_statuses=[502], http_failures=1)})),
        ask("/a", status=502),
        spread("/a", 5, only("A")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_health(bench: Bench, name: str) -> None:
    run(bench, CASES[name])


def test_a_node_that_comes_back_is_used_again(bench: Bench) -> None:
    port = free_port()
    nodes = {"{A}": 1, f"127.0.0.1:{port}": 1}
    upstream = {"type": "roundrobin", "nodes": nodes, "checks": checks(), "retries": 0}
    try:
        take(bench, [put("routes/health-late", route("/a", upstream=upstream))])
        take(bench, [spread("/a", 8, only("A"), eventually=True)])
        with Node("late", port).running():
            take(bench, [spread("/a", 8, only("A", "late"), eventually=True)])
    finally:
        bench.clear()


def test_changes_below_a_route_reach_it(bench: Bench) -> None:
    run(
        bench,
        [
            put("upstreams/1", node("A")),
            put("services/1", {"upstream_id": "1"}),
            put("routes/1", {"uri": "/a", "service_id": "1"}),
            ask("/a", has={"node": "A"}),
            put("upstreams/1", node("B")),
            ask("/a", has={"node": "B"}),
            patch("services/1", {"upstream_id": None, "upstream": node("C")}),
            ask("/a", has={"node": "C"}),
            delete("routes/1"),
            ask("/a", status=404),
        ],
    )


def test_a_resource_with_a_ttl_goes_away(bench: Bench) -> None:
    steps: list[Step] = [
        put("routes/1?ttl=1", route("/a")),
        ask("/a"),
        ask("/a", eventually=True, status=404),
    ]
    run(bench, steps)
    assert bench.manage("GET", "routes/1").status_code == 404
