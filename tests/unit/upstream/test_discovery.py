"""Names to locations, with answers from a table."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pingsix_asgi.errors import NoUpstream
from pingsix_asgi.model.upstream import Upstream
from pingsix_asgi.upstream.discovery import Answers, Discovery, Location, is_literal
from pingsix_asgi.upstream.services import ServiceRecord
from support.upstreams import FakeResolver


def discover(
    resolver: FakeResolver,
    *,
    answers: Answers | None = None,
    timeout_s: float = 5.0,
    **fields: Any,
) -> Discovery:
    return Discovery(
        Upstream.model_validate(fields),
        name="u1",
        resolver=resolver,
        timeout_s=timeout_s,
        answers={} if answers is None else answers,
    )


def shown(locations: tuple[Location, ...]) -> list[str]:
    return [
        f"{item.host}={item.address}:{item.port} w{item.weight} p{item.priority}"
        for item in locations
    ]


def service(resolver: FakeResolver, name: str = "api.test", **fields: Any) -> Discovery:
    return discover(resolver, service_name=name, discovery_type="dns", **fields)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("10.0.0.1", True), ("::1", True), ("@app", True), ("a.test", False), ("localhost", False)],
)
def test_literals_need_no_resolution(host: str, expected: bool) -> None:
    assert is_literal(host) is expected


def test_literals_are_known_without_asking() -> None:
    found = discover(
        FakeResolver(),
        scheme="https",
        nodes=[
            {"host": "10.0.0.1", "weight": 2, "priority": 3},
            {"host": "[::1]", "port": 81, "weight": 1},
            {"host": "@app", "port": 1, "weight": 0},
        ],
    )
    assert found.is_static
    assert shown(found.known()) == [
        "10.0.0.1=10.0.0.1:443 w2 p3",
        "::1=::1:81 w1 p0",
        "@app=@app:1 w0 p0",
    ]


async def test_every_address_of_a_name_is_a_node_with_its_weight() -> None:
    resolver = FakeResolver({"a.test": ["::2", "10.0.0.9", "10.0.0.10", "10.0.0.9"]})
    found = discover(resolver, nodes={"a.test:8080": 5})
    assert not found.is_static
    assert found.known() == ()
    answer = await found.resolve()
    assert shown(answer.locations) == [
        "a.test=10.0.0.9:8080 w5 p0",
        "a.test=10.0.0.10:8080 w5 p0",
        "a.test=::2:8080 w5 p0",
    ]
    assert answer.is_complete


async def test_a_name_used_twice_is_asked_once() -> None:
    resolver = FakeResolver({"a.test": ["10.0.0.1"]})
    await discover(resolver, nodes={"a.test:1": 1, "a.test:2": 1}).resolve()
    assert resolver.asked == ["a.test"]


async def test_a_name_that_fails_is_tolerated_beside_one_that_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    resolver = FakeResolver({"a.test": ["10.0.0.1"]})
    with caplog.at_level(logging.WARNING, "pingsix_asgi.upstream"):
        answer = await discover(resolver, nodes={"a.test:1": 1, "b.test:2": 1}).resolve()
    assert shown(answer.locations) == ["a.test=10.0.0.1:1 w1 p0"]
    assert not answer.is_complete
    assert "upstream u1: b.test: b.test does not resolve" in caplog.text


async def test_no_answer_at_all_is_an_error_and_literals_are_an_answer() -> None:
    with pytest.raises(NoUpstream, match="upstream u1: no name resolves"):
        await discover(FakeResolver(), nodes={"a.test:1": 1}).resolve()
    mixed = await discover(FakeResolver(), nodes={"a.test:1": 1, "10.0.0.1:1": 1}).resolve()
    assert len(mixed.locations) == 1


async def test_a_silent_name_costs_no_more_than_the_deadline() -> None:
    resolver = FakeResolver({"a.test": ["10.0.0.1"], "b.test": ["10.0.0.2"]})
    resolver.silent.add("b.test")
    found = discover(resolver, nodes={"a.test:1": 1, "b.test:1": 1}, timeout_s=0.05)
    answer = await found.resolve()
    assert shown(answer.locations) == ["a.test=10.0.0.1:1 w1 p0"]
    assert not answer.is_complete


async def test_the_last_good_answer_is_kept_also_for_the_next_revision() -> None:
    resolver, answers = FakeResolver({"a.test": ["10.0.0.1"]}), Answers()
    found = discover(resolver, answers=answers, nodes={"a.test:1": 1})
    await found.resolve()
    resolver.names.clear()
    again = await found.resolve()
    assert shown(again.locations) == ["a.test=10.0.0.1:1 w1 p0"]
    assert not again.is_complete
    heavier = discover(resolver, answers=answers, nodes={"a.test:1": 9})
    assert shown(heavier.known()) == ["a.test=10.0.0.1:1 w9 p0"]


async def test_the_shortest_ttl_counts() -> None:
    resolver = FakeResolver({"a.test": ["10.0.0.1"]})
    resolver.ttl_s = 7.0
    assert (await discover(resolver, nodes={"a.test:1": 1}).resolve()).ttl_s == 7.0


async def test_ipv6_of_localhost_is_a_last_resort() -> None:
    resolver = FakeResolver({"localhost": ["::1", "127.0.0.1"], "six.localhost": ["::1"]})
    answer = await discover(resolver, nodes={"localhost:1": 1, "six.localhost:2": 1}).resolve()
    assert shown(answer.locations) == [
        "localhost=127.0.0.1:1 w1 p0",
        "localhost=::1:1 w1 p-1",
        "six.localhost=::1:2 w1 p0",
    ]


# -- discovery_type: dns


async def test_srv_records_give_ports_weights_and_priorities() -> None:
    resolver = FakeResolver({"n1.test": ["10.0.0.1"], "n2.test": ["10.0.0.2"]})
    resolver.records["api.test"] = [
        ServiceRecord("n1.test", 8001, priority=10, weight=3),
        ServiceRecord("n2.test", 0, priority=20, weight=0),
        ServiceRecord("10.0.0.3", 8003, priority=0, weight=2),
    ]
    answer = await service(resolver).resolve()
    assert shown(answer.locations) == [
        "n1.test=10.0.0.1:8001 w3 p-10",
        "n2.test=10.0.0.2:80 w1 p-20",
        "10.0.0.3=10.0.0.3:8003 w2 p0",
    ]


async def test_the_weight_of_a_record_is_split_over_its_addresses() -> None:
    resolver = FakeResolver({"n1.test": ["10.0.0.1", "10.0.0.2"], "n2.test": ["10.0.0.3"]})
    resolver.records["api.test"] = [
        ServiceRecord("n1.test", 1, weight=5),
        ServiceRecord("n2.test", 1, weight=5),
    ]
    answer = await service(resolver).resolve()
    assert [item.weight for item in answer.locations] == [5, 5, 10]


async def test_a_service_without_srv_records_is_a_name() -> None:
    resolver = FakeResolver({"api.test": ["10.0.0.1", "::1"]})
    answer = await service(resolver, scheme="https").resolve()
    assert shown(answer.locations) == ["api.test=10.0.0.1:443 w1 p0", "api.test=::1:443 w1 p0"]
    assert resolver.asked == ["SRV api.test", "api.test"]


async def test_a_port_given_with_the_service_wins() -> None:
    resolver = FakeResolver({"n1.test": ["10.0.0.1"]})
    resolver.records["api.test"] = [ServiceRecord("n1.test", 8001)]
    answer = await service(resolver, "api.test:9000").resolve()
    assert [item.port for item in answer.locations] == [9000]


async def test_a_question_for_srv_that_fails_does_not_turn_into_addresses() -> None:
    resolver = FakeResolver({"api.test": ["10.0.0.1"], "n1.test": ["10.0.0.2"]})
    resolver.silent.add("SRV api.test")
    found = service(resolver, timeout_s=0.05)
    with pytest.raises(NoUpstream):
        await found.resolve()
    resolver.silent.clear()
    resolver.records["api.test"] = [ServiceRecord("n1.test", 8001)]
    await found.resolve()
    resolver.silent.add("SRV api.test")
    answer = await found.resolve()
    assert shown(answer.locations) == ["n1.test=10.0.0.2:8001 w1 p0"]
    assert not answer.is_complete
