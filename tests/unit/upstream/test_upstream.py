"""Compiled upstreams: revisions that share nodes, counts, retries, refreshes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pingsix_asgi.errors import ConnectError, NoNode, NoUpstream
from pingsix_asgi.model.upstream import Upstream as UpstreamModel
from pingsix_asgi.upstream.node import Keepalive, Node, Timeouts, TLSOptions
from pingsix_asgi.upstream.services import UpstreamDefaults
from pingsix_asgi.upstream.upstream import Upstream
from support.upstreams import FakePool, FakeResolver, FakeServices, make_ctx, until

CERT = "c" * 200
KEY = "k" * 200
CHECKS = {"active": {"type": "tcp", "healthy": {"interval": 1000}}}


def compiled(services: FakeServices, whose: str = "upstreams/1", /, **fields: Any) -> Upstream:
    model = UpstreamModel.model_validate({"nodes": {"10.0.0.1:80": 1}, **fields})
    return Upstream.compile(model, key=whose, services=services)


def service_upstream(services: FakeServices, **fields: Any) -> Upstream:
    model = UpstreamModel.model_validate({"discovery_type": "dns", **fields})
    return Upstream.compile(model, key="upstreams/1", services=services)


def node_at(upstream: Upstream, address: str) -> Node:
    return next(node for node in upstream.nodes if node.address == address)


def addresses(upstream: Upstream) -> list[str]:
    return [node.address for node in upstream.nodes]


# -- what is compiled


def test_defaults_come_from_the_services() -> None:
    defaults = UpstreamDefaults(timeout=Timeouts(1, 2, 3), tls_verify=True, tls_ca_file="/ca.pem")
    upstream = compiled(FakeServices(defaults=defaults), scheme="https")
    assert upstream.timeout == Timeouts(1, 2, 3)
    assert upstream.tls == TLSOptions(verify=True, ca_file="/ca.pem")
    assert upstream.keepalive == Keepalive()
    assert upstream.retry_timeout == 0
    assert upstream.name == "upstreams/1"
    assert compiled(FakeServices()).tls is None


def test_fields_win_over_defaults() -> None:
    upstream = compiled(
        FakeServices(defaults=UpstreamDefaults(tls_verify=True)),
        name="named",
        scheme="https",
        timeout={"connect": 4, "send": 5, "read": 6},
        tls={"verify": False, "client_cert": CERT, "client_key": KEY},
        keepalive_pool={"size": 1, "idle_timeout": 2, "requests": 3},
        retry_timeout=1.5,
    )
    assert upstream.name == "named"
    assert upstream.timeout == Timeouts(4, 5, 6)
    assert upstream.tls == TLSOptions(client_cert=CERT, client_key=KEY)
    assert upstream.keepalive == Keepalive(1, 2, 3)
    assert upstream.retry_timeout == 1.5


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"nodes": {"10.0.0.1": 1}}, 0),
        ({"nodes": {"10.0.0.1": 1, "10.0.0.2": 1, "10.0.0.3": 1}}, 2),
        ({"nodes": {"10.0.0.1": 1, "10.0.0.2": 0}}, 0),
        ({"nodes": {"10.0.0.1": 1, "10.0.0.2": 1}, "retries": 0}, 0),
        ({"nodes": {"10.0.0.1": 1}, "retries": 4}, 4),
        ({"nodes": []}, 0),
    ],
)
def test_retries_default_to_one_per_further_node(fields: dict[str, Any], expected: int) -> None:
    assert compiled(FakeServices(), **fields).retries == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [None, "a.test"]),
        ({"pass_host": "node"}, [None, "a.test"]),
        ({"pass_host": "rewrite", "upstream_host": "up.test:8443"}, ["up.test", "up.test"]),
    ],
)
async def test_tls_asks_for_the_name_of_the_node(
    fields: dict[str, Any], expected: list[str | None]
) -> None:
    services = FakeServices(FakeResolver({"a.test": ["10.0.0.2"]}))
    nodes = {"10.0.0.1": 1, "a.test": 1}
    upstream = compiled(services, scheme="https", nodes=nodes, **fields)
    await upstream.start()
    assert [pool.key.server_name for pool in services.pools] == expected
    assert [pool.key.host for pool in services.pools] == ["10.0.0.1", "10.0.0.2"]
    assert [pool.key.port for pool in services.pools] == [443, 443]
    upstream.stop()
    await services.aclose()


def test_no_nodes_is_no_upstream() -> None:
    with pytest.raises(NoUpstream, match="upstream upstreams/1 has no node"):
        compiled(FakeServices(), nodes=[]).pick(make_ctx())


def test_tried_nodes_are_left_out() -> None:
    upstream = compiled(FakeServices(), nodes={"10.0.0.1": 1, "10.0.0.2": 1})
    first = upstream.pick(make_ctx())
    second = upstream.pick(make_ctx(), [first])
    assert {first, second} == set(upstream.nodes)
    with pytest.raises(NoNode):
        upstream.pick(make_ctx(), [first, second])


def test_the_wrapped_app_is_a_node_without_connections() -> None:
    services = FakeServices()
    upstream = compiled(services, nodes={"@app": 1, "10.0.0.1:9001": 1}, checks=CHECKS)
    local = node_at(upstream, "@app")
    assert local.is_local
    assert local.pool is None
    assert len(services.pools) == 1
    upstream.stop()


def test_hashing_uses_the_key_of_the_upstream() -> None:
    nodes = {f"10.0.0.{number}": 1 for number in range(1, 9)}
    upstream = compiled(FakeServices(), nodes=nodes, type="chash", hash_on="header", key="x-user")
    picked = [upstream.pick(make_ctx(f"/{i}", {"X-User": "ann"})) for i in range(20)]
    assert len(set(picked)) == 1
    assert len({upstream.pick(make_ctx("/", {"X-User": f"u{i}"})) for i in range(200)}) == 8


# -- counts


def test_requests_under_way_are_counted() -> None:
    upstream = compiled(FakeServices(), nodes={"10.0.0.1": 1, "10.0.0.2": 1})
    node = upstream.pick(make_ctx())
    upstream.started(node)
    assert node.active == 1
    upstream.finished(node, status=200, error=None, seconds=0.1)
    assert node.active == 0


def test_least_conn_follows_the_counts_of_every_revision() -> None:
    services = FakeServices()
    nodes = {"10.0.0.1": 1, "10.0.0.2": 1}
    old = compiled(services, nodes=nodes)
    first, second = old.nodes
    for _ in range(5):
        old.started(first)
    new = compiled(services, nodes=nodes, type="least_conn")
    old.stop()
    for _ in range(3):
        assert new.pick(make_ctx()) is second
        new.started(second)
    for _ in range(5):
        old.finished(first, status=200, error=None, seconds=0.1)
    assert new.pick(make_ctx()) is first


@pytest.mark.parametrize(
    ("status", "error", "score"),
    [(200, None, 0.2), (503, None, 0.2), (None, ConnectError("refused"), 1.0), (None, None, 0.0)],
)
def test_ewma_learns_from_answers_and_failures_not_from_clients_that_left(
    status: int | None, error: ConnectError | None, score: float
) -> None:
    upstream = compiled(FakeServices(), nodes={"10.0.0.1": 1, "10.0.0.2": 1}, type="ewma")
    node = upstream.nodes[0]
    upstream.started(node)
    upstream.finished(node, status=status, error=error, seconds=0.2)
    assert node.score == score


# -- revisions


def test_a_new_weight_changes_shares_and_nothing_else() -> None:
    services = FakeServices()
    old = compiled(services, nodes={"10.0.0.1": 1, "10.0.0.2": 1})
    node = node_at(old, "10.0.0.2")
    old.started(node)
    new = compiled(services, nodes={"10.0.0.1": 1, "10.0.0.2": 3})
    old.stop()
    assert node_at(new, "10.0.0.2") is node
    assert (node.active, node.weight) == (1, 3)
    assert sum(new.pick(make_ctx()) is node for _ in range(8)) == 6
    assert len(services.pools) == 2
    assert not any(pool.is_retired for pool in services.pools)


def test_the_pool_of_a_node_that_left_is_retired_when_the_last_revision_stops() -> None:
    services = FakeServices()
    old = compiled(services, nodes={"10.0.0.1": 1, "10.0.0.2": 1})
    gone: FakePool = node_at(old, "10.0.0.1").pool
    kept: FakePool = node_at(old, "10.0.0.2").pool
    new = compiled(services, nodes={"10.0.0.2": 1})
    assert not gone.is_retired
    old.stop()
    old.stop()
    assert gone.is_retired
    assert not kept.is_retired
    new.stop()
    assert kept.is_retired


def test_a_stopped_revision_still_serves_its_requests_in_flight() -> None:
    old = compiled(FakeServices())
    node = old.pick(make_ctx())
    old.started(node)
    old.stop()
    assert old.pick(make_ctx(), [node]) is node
    old.finished(node, status=200, error=None, seconds=0.1)
    assert node.active == 0


def test_upstreams_share_pools_but_not_nodes() -> None:
    services = FakeServices()
    one = compiled(services, "upstreams/1")
    two = compiled(services, "upstreams/2")
    assert one.nodes[0] is not two.nodes[0]
    assert one.nodes[0].pool is two.nodes[0].pool
    one.stop()
    assert not services.pools[0].is_retired
    two.stop()
    assert services.pools[0].is_retired


def test_other_tls_options_are_another_node() -> None:
    services = FakeServices()
    old = compiled(services, scheme="https")
    new = compiled(services, scheme="https", tls={"verify": True})
    assert old.nodes[0] is not new.nodes[0]
    assert len(services.pools) == 2


# -- names


async def test_start_resolves_and_a_refresh_follows_the_names() -> None:
    resolver = FakeResolver({"a.test": ["10.0.0.1", "10.0.0.2"]})
    services = FakeServices(resolver, UpstreamDefaults(dns_refresh_s=0.02))
    upstream = compiled(services, nodes={"a.test:80": 1})
    with pytest.raises(NoUpstream):
        upstream.pick(make_ctx())
    await upstream.start()
    assert addresses(upstream) == ["10.0.0.1", "10.0.0.2"]
    assert upstream.retries == 1
    leaving, staying = upstream.nodes
    upstream.started(leaving)
    resolver.names["a.test"] = ["10.0.0.2", "10.0.0.3"]
    await until(lambda: addresses(upstream) == ["10.0.0.2", "10.0.0.3"])
    assert upstream.nodes[0] is staying
    assert leaving.pool.is_retired
    assert leaving.active == 1
    upstream.finished(leaving, status=200, error=None, seconds=0.1)
    upstream.stop()
    assert services.running == []
    await services.aclose()


async def test_a_failed_refresh_keeps_the_nodes_and_is_tried_again() -> None:
    resolver = FakeResolver({"a.test": ["10.0.0.1"]})
    services = FakeServices(resolver, UpstreamDefaults(dns_refresh_s=0.01))
    upstream = compiled(services, nodes={"a.test:80": 1})
    await upstream.start()
    resolver.names.clear()
    asked = len(resolver.asked)
    await until(lambda: len(resolver.asked) > asked)
    assert addresses(upstream) == ["10.0.0.1"]
    assert upstream.pick(make_ctx()).address == "10.0.0.1"
    resolver.names["a.test"] = ["10.0.0.9"]
    await until(lambda: addresses(upstream) == ["10.0.0.9"])
    upstream.stop()
    await services.aclose()


async def test_the_ttl_sets_the_pace_without_an_interval() -> None:
    resolver = FakeResolver({"a.test": ["10.0.0.1"]})
    resolver.ttl_s = 1000.0
    services = FakeServices(resolver)
    upstream = compiled(services, nodes={"a.test:80": 1})
    await upstream.start()
    waits = [await upstream._refresh() for _ in range(20)]
    assert all(900 <= wait <= 1100 for wait in waits)
    assert len(set(waits)) > 1
    resolver.ttl_s = 0.0
    assert 0.9 <= await upstream._refresh() <= 1.1
    resolver.ttl_s = None
    assert 27 <= await upstream._refresh() <= 33
    upstream.stop()
    await services.aclose()


async def test_start_does_not_fail_and_retries_back_off() -> None:
    services = FakeServices()
    upstream = compiled(services, nodes={"a.test:80": 1})
    await upstream.start()
    with pytest.raises(NoUpstream):
        upstream.pick(make_ctx())
    waits = [await upstream._refresh() for _ in range(8)]
    assert [round(wait / base, 1) for wait, base in zip(waits, (2, 4, 8, 16), strict=False)] == [
        pytest.approx(1, abs=0.11)
    ] * 4
    assert 27 <= waits[-1] <= 33
    assert services.running == ["names of upstream upstreams/1"]
    upstream.stop()
    await services.aclose()


async def test_the_next_revision_picks_before_it_is_started() -> None:
    services = FakeServices(FakeResolver({"a.test": ["10.0.0.1"]}))
    old = compiled(services, nodes={"a.test:80": 1})
    await old.start()
    new = compiled(services, nodes={"a.test:80": 7})
    assert new.pick(make_ctx()) is old.nodes[0]
    old.stop()
    new.stop()
    await services.aclose()


async def test_a_service_that_is_discovered_can_change_its_ports() -> None:
    resolver = FakeResolver({"api.test": ["10.0.0.1"]})
    services = FakeServices(resolver)
    upstream = service_upstream(services, service_name="api.test:8000")
    await upstream.start()
    assert upstream.pick(make_ctx()).name == "10.0.0.1:8000"
    upstream.stop()
    await services.aclose()


async def test_stopping_during_the_first_resolution_leaves_nothing() -> None:
    resolver = FakeResolver({"a.test": ["10.0.0.1"], "b.test": []})
    resolver.silent.add("b.test")
    services = FakeServices(resolver, UpstreamDefaults(dns_timeout_s=0.05))
    upstream = compiled(services, nodes={"a.test:80": 1, "b.test:80": 1})
    starting = asyncio.create_task(upstream.start())
    await until(lambda: resolver.asked)
    upstream.stop()
    await starting
    assert services.tasks == []
    assert services.pools == []


# -- checks


async def test_an_unchanged_check_survives_other_changes() -> None:
    services = FakeServices()
    old = compiled(services, nodes={"10.0.0.1": 1, "10.0.0.2": 1}, checks=CHECKS)
    await old.start()
    await old.start()
    assert len(services.tasks) == 2
    new = compiled(services, nodes={"10.0.0.1": 5, "10.0.0.3": 1}, checks=CHECKS, retries=3)
    await new.start()
    old.stop()
    assert services.running == [
        "probe 10.0.0.1:80 of upstream upstreams/1",
        "probe 10.0.0.3:80 of upstream upstreams/1",
    ]
    assert len(services.tasks) == 3
    new.stop()
    assert services.running == []
    await services.aclose()


async def test_a_changed_check_keeps_the_verdict_and_no_check_resets_it() -> None:
    services = FakeServices()
    nodes = {"10.0.0.1": 1, "10.0.0.2": 1}
    old = compiled(services, nodes=nodes, checks=CHECKS)
    await old.start()
    node = old.nodes[0]
    for _ in range(2):
        old._roster.verdict(node).report("tcp_failure", old.check.thresholds)  # type: ignore[union-attr]
    assert {old.pick(make_ctx()) for _ in range(4)} == {old.nodes[1]}
    changed = {"active": {**CHECKS["active"], "timeout": 9}}
    new = compiled(services, nodes=nodes, checks=changed)
    await new.start()
    old.stop()
    assert not node.health.is_healthy
    assert len(services.running) == 2
    bare = compiled(services, nodes=nodes)
    await bare.start()
    new.stop()
    assert node.health.is_healthy
    assert {bare.pick(make_ctx()) for _ in range(4)} == set(bare.nodes)
    bare.stop()
    await services.aclose()


async def test_the_app_is_never_probed() -> None:
    services = FakeServices()
    upstream = compiled(services, nodes={"@app": 1}, checks=CHECKS)
    await upstream.start()
    assert services.tasks == []
    upstream.stop()


async def test_health_lists_every_node_as_apisix_does() -> None:
    services = FakeServices(FakeResolver({"a.test": ["10.0.0.1"]}))
    checks = {"active": {**CHECKS["active"], "port": 99}}
    upstream = compiled(services, name="api", nodes={"a.test": 1}, checks=checks)
    await upstream.start()
    upstream._roster.verdict(upstream.nodes[0]).report("tcp_failure", upstream.check.thresholds)  # type: ignore[union-attr]
    assert upstream.health() == [
        {
            "name": "api",
            "ip": "10.0.0.1",
            "port": 99,
            "hostname": "a.test",
            "status": "mostly_healthy",
            "counter": {
                "success": 0,
                "http_failure": 0,
                "tcp_failure": 1,
                "timeout_failure": 0,
            },
        }
    ]
    assert compiled(services, "upstreams/2").health() == []
    upstream.stop()
    await services.aclose()
