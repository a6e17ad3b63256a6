"""Resolvers against a real DNS server, a hosts file and the system."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi.errors import NoUpstream
from pingsix_asgi.model.upstream import Upstream as UpstreamModel
from pingsix_asgi.upstream.dns_resolver import DnsResolver
from pingsix_asgi.upstream.resolver import SystemResolver
from pingsix_asgi.upstream.services import Addresses, ServiceRecord, UpstreamDefaults
from pingsix_asgi.upstream.upstream import Upstream
from support.dns_server import DnsServer, dns_server
from support.upstreams import FakeServices, make_ctx, until


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with dns_server() as running:
        yield running


@pytest.fixture
def resolver(server: DnsServer, tmp_path: Path) -> DnsResolver:
    return DnsResolver([server.address], hosts_file=str(tmp_path / "hosts"))


async def test_both_families_come_with_the_shorter_ttl(
    server: DnsServer, resolver: DnsResolver
) -> None:
    server.records["a.test", "A"] = ["10.0.0.1", "10.0.0.2"]
    server.records["a.test", "AAAA"] = ["::5"]
    server.ttl_s = 17
    found = await resolver.addresses("a.test")
    assert set(found.addresses) == {"10.0.0.1", "10.0.0.2", "::5"}
    assert found.ttl_s == 17.0


async def test_one_family_is_enough(server: DnsServer, resolver: DnsResolver) -> None:
    server.records["six.test", "AAAA"] = ["::5"]
    assert (await resolver.addresses("six.test")).addresses == ("::5",)


async def test_a_name_that_does_not_exist_is_no_upstream(resolver: DnsResolver) -> None:
    with pytest.raises(NoUpstream, match=r"a\.test has no address"):
        await resolver.addresses("a.test")


async def test_a_server_that_fails_is_no_upstream(server: DnsServer, resolver: DnsResolver) -> None:
    server.failing.add("a.test")
    with pytest.raises(NoUpstream, match=r"A of a\.test"):
        await resolver.addresses("a.test")
    with pytest.raises(NoUpstream, match=r"SRV of a\.test"):
        await resolver.services("a.test")


async def test_a_family_that_is_not_answered_does_not_cost_the_other(server: DnsServer) -> None:
    resolver = DnsResolver([server.address], lifetime_s=0.2)
    server.records["a.test", "A"] = ["10.0.0.1"]
    server.silent.add(("a.test", "AAAA"))
    assert (await resolver.addresses("a.test")).addresses == ("10.0.0.1",)
    server.silent.add("a.test")
    with pytest.raises(NoUpstream):
        await resolver.addresses("a.test")


async def test_srv_records(server: DnsServer, resolver: DnsResolver) -> None:
    server.records["_api._tcp.test", "SRV"] = ["10 3 8001 n1.test.", "20 0 0 n2.test."]
    server.records["none.test", "A"] = ["10.0.0.1"]
    server.records["closed.test", "SRV"] = ["0 0 0 ."]
    found = await resolver.services("_api._tcp.test")
    assert set(found.records) == {
        ServiceRecord("n1.test", 8001, priority=10, weight=3),
        ServiceRecord("n2.test", 0, priority=20, weight=0),
    }
    assert found.ttl_s == 60.0
    assert (await resolver.services("none.test")).records == ()
    assert (await resolver.services("closed.test")).records == ()


async def test_the_hosts_file_comes_first_and_is_read_again_when_it_changes(
    server: DnsServer, resolver: DnsResolver, tmp_path: Path
) -> None:
    server.records["a.test", "A"] = ["10.0.0.1"]
    hosts = tmp_path / "hosts"
    hosts.write_text("# comment\n10.1.1.1 A.test alias # more\n::9 a.test\nnonsense here\n\n")
    assert await resolver.addresses("a.test") == Addresses(("10.1.1.1", "::9"))
    assert await resolver.addresses("ALIAS.") == Addresses(("10.1.1.1",))
    assert server.asked == []
    hosts.write_text("10.2.2.2 a.test\n")
    os.utime(hosts, ns=(1, 1))
    assert await resolver.addresses("a.test") == Addresses(("10.2.2.2",))
    hosts.unlink()
    assert (await resolver.addresses("a.test")).addresses == ("10.0.0.1",)


async def test_localhost_is_never_asked_for(server: DnsServer, resolver: DnsResolver) -> None:
    assert (await resolver.addresses("localhost")).addresses == ("127.0.0.1", "::1")
    assert (await resolver.addresses("api.localhost")).addresses == ("127.0.0.1", "::1")
    assert server.asked == []


@pytest.mark.parametrize("text", ["dns.test", "127.0.0.1:x", "[::1", "1.2.3.4:99999999"])
def test_a_server_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        DnsResolver([text])


def test_servers_may_have_ports_and_be_ipv6() -> None:
    servers = DnsResolver(["192.0.2.1", "192.0.2.1:5353", "[::1]:5353", "::1"])._servers
    assert [(server.address, server.port) for server in servers] == [
        ("192.0.2.1", 53),
        ("192.0.2.1", 5353),
        ("::1", 5353),
        ("::1", 53),
    ]


async def test_the_system_resolves_localhost_off_the_loop() -> None:
    found = await SystemResolver().addresses("localhost")
    assert "127.0.0.1" in found.addresses
    assert found.ttl_s is None


@pytest.mark.parametrize("name", ["no-such-name.invalid", "a" * 64 + ".test", "."])
async def test_the_system_refuses_names_that_do_not_exist(name: str) -> None:
    with pytest.raises(NoUpstream, match="does not resolve"):
        await SystemResolver().addresses(name)


# -- a whole upstream


def discovered(services: FakeServices, **fields: Any) -> Upstream:
    return Upstream.compile(
        UpstreamModel.model_validate(fields), key="upstreams/1", services=services
    )


async def test_an_upstream_follows_its_srv_records(
    server: DnsServer, resolver: DnsResolver
) -> None:
    server.records["api.test", "SRV"] = ["10 1 8001 n1.test.", "20 1 8002 n2.test."]
    server.records["n1.test", "A"] = ["10.0.0.1"]
    server.records["n2.test", "A"] = ["10.0.0.2"]
    services = FakeServices(resolver, UpstreamDefaults(dns_refresh_s=0.05))
    upstream = discovered(services, service_name="api.test", discovery_type="dns")
    await upstream.start()
    preferred = upstream.pick(make_ctx())
    assert preferred.name == "10.0.0.1:8001"
    assert upstream.pick(make_ctx(), [preferred]).name == "10.0.0.2:8002"
    server.records["api.test", "SRV"] = ["10 1 8003 n2.test."]
    await until(lambda: [node.name for node in upstream.nodes] == ["10.0.0.2:8003"])
    assert preferred.pool.is_retired
    upstream.stop()
    await services.aclose()


async def test_an_upstream_outlives_its_dns_server(
    server: DnsServer, resolver: DnsResolver
) -> None:
    server.records["a.test", "A"] = ["10.0.0.1"]
    services = FakeServices(resolver, UpstreamDefaults(dns_refresh_s=0.02))
    upstream = discovered(services, nodes={"a.test:80": 1})
    await upstream.start()
    server.failing.add("a.test")
    asked = len(server.asked)
    await until(lambda: len(server.asked) >= asked + 2)
    assert upstream.pick(make_ctx()).name == "10.0.0.1:80"
    server.failing.clear()
    server.records["a.test", "A"] = ["10.0.0.7"]
    await until(lambda: upstream.pick(make_ctx()).name == "10.0.0.7:80")
    upstream.stop()
    await services.aclose()


async def test_resolution_leaves_the_loop_free(server: DnsServer, resolver: DnsResolver) -> None:
    server.silent.add("a.test")
    services = FakeServices(resolver, UpstreamDefaults(dns_timeout_s=0.3))
    upstream = discovered(services, nodes={"a.test:80": 1})
    turns = 0
    starting = asyncio.create_task(upstream.start())
    while not starting.done():
        turns += 1
        await asyncio.sleep(0.001)
    assert turns > 20
    upstream.stop()
    await services.aclose()
