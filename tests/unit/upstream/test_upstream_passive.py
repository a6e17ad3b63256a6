"""Passive checks: requests of clients count for a node's health, by their own thresholds."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.errors import ConnectError, UpstreamError, UpstreamProtocolError, UpstreamTimeout
from pingsix_asgi.model.base import parse
from pingsix_asgi.model.upstream import Upstream as UpstreamModel
from pingsix_asgi.upstream.upstream import Upstream
from support.upstreams import FakeServices, make_ctx

NODES = {"127.0.0.1:81": 1, "127.0.0.1:82": 1}


def compiled(passive: Any = None, **fields: Any) -> Upstream:
    checks = {"active": {}} if passive is None else {"active": {}, "passive": passive}
    document = {"nodes": NODES, "checks": checks, **fields}
    return Upstream.compile(
        parse(UpstreamModel, document), key="upstreams/1", services=FakeServices()
    )


def attempts(
    upstream: Upstream, count: int, *, status: int | None = None, error: UpstreamError | None = None
) -> str:
    """Let the first node take so many requests; return what is thought of it then."""
    node = upstream.nodes[0]
    for _ in range(count):
        upstream.started(node)
        upstream.finished(node, status=status, error=error, seconds=0.01)
    found: str = upstream.health()[0]["status"]
    return found


@pytest.mark.parametrize(
    ("conf", "answer", "count"),
    [
        ({}, {"status": 503}, 5),
        ({}, {"error": ConnectError("refused")}, 2),
        ({}, {"error": UpstreamProtocolError("reset")}, 2),
        ({}, {"error": UpstreamTimeout("read", "slow")}, 7),
        ({"unhealthy": {"http_statuses": [502], "http_failures": 1}}, {"status": 502}, 1),
        (
            {"unhealthy": {"http_statuses": [502], "http_failures": 1, "tcp_failures": 9}},
            {"error": ConnectError("refused")},
            1,
        ),
        ({"type": "tcp", "unhealthy": {"tcp_failures": 1}}, {"error": ConnectError("no")}, 1),
    ],
)
def test_as_many_failures_as_the_threshold_take_a_node_out(
    conf: Any, answer: Any, count: int
) -> None:
    upstream = compiled(conf)
    assert attempts(upstream, count - 1, **answer) in ("healthy", "mostly_healthy")
    assert attempts(upstream, 1, **answer) == "unhealthy"
    picked = {upstream.pick(make_ctx()).port for _ in range(8)}
    assert picked == {82}


@pytest.mark.parametrize(
    ("conf", "answer"),
    [
        (None, {"status": 503}),
        ({"unhealthy": {"http_failures": 0}}, {"status": 503}),
        ({"unhealthy": {"tcp_failures": 0}}, {"error": ConnectError("refused")}),
        ({"type": "tcp"}, {"status": 503}),
        ({}, {"status": 404}),
        ({}, {}),
    ],
)
def test_what_does_not_count(conf: Any, answer: Any) -> None:
    assert attempts(compiled(conf), 20, **answer) == "healthy"


def test_successes_bring_a_node_back() -> None:
    upstream = compiled({"healthy": {"successes": 2}, "unhealthy": {"http_failures": 1}})
    assert attempts(upstream, 1, status=500) == "unhealthy"
    assert attempts(upstream, 1, status=200) == "mostly_unhealthy"
    assert attempts(upstream, 1, status=201) == "healthy"


def test_a_success_clears_the_failures() -> None:
    upstream = compiled({"unhealthy": {"http_failures": 3}, "healthy": {"successes": 1}})
    for _ in range(4):
        attempts(upstream, 2, status=500)
        assert attempts(upstream, 1, status=200) == "healthy"


def test_a_request_that_ends_after_its_upstream_still_counts() -> None:
    upstream = compiled({"unhealthy": {"http_failures": 1}})
    node = upstream.nodes[0]
    upstream.started(node)
    upstream.stop()
    upstream.finished(node, status=500, error=None, seconds=0.1)
    assert node.active == 0
