"""Stale responses that are served at once and renewed behind their clients' backs (RFC 5861)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pingsix_asgi.app import PingSIX
from pingsix_asgi.cache import renewal
from pingsix_asgi.errors import ConnectError
from pingsix_asgi.middleware.limit_count import LimitCount
from pingsix_asgi.middleware.proxy_cache import Cache, ProxyCache
from pingsix_asgi.middleware.response_rewrite import ResponseRewrite
from pingsix_asgi.testing import Client
from support.cache_bench import RFC, Bench, Origin
from support.servers import serving

SWR = "max-age=10, stale-while-revalidate=60"


async def settle(until: Callable[[], bool] = lambda: False) -> None:
    for _ in range(20):
        if not until():
            await asyncio.sleep(0)


async def stale(*, cache_control: str = SWR, method: str = "GET", **options: Any) -> Bench:
    """Return a bench whose origin has answered once, 11 seconds ago; further answers wait."""
    bench = Bench(Origin(cache_control=cache_control), **{**RFC, **options})
    await bench.get(method=method)
    bench.clock.advance(11)
    bench.origin.gate = asyncio.Event()
    return bench


def open_gate(bench: Bench) -> None:
    assert bench.origin.gate is not None
    bench.origin.gate.set()


async def test_everybody_gets_the_stale_response_and_one_fetch_renews_it() -> None:
    bench = await stale()
    for _ in range(3):
        assert await bench.seen() == ("STALE", "answer 1")
    await settle()
    assert bench.origin.calls == 2
    open_gate(bench)
    await settle()
    assert await bench.seen() == ("HIT", "answer 2")
    assert bench.origin.calls == 2


async def test_pingsix_option_counts_where_the_origin_says_nothing() -> None:
    bench = Bench(Origin(), plugin=Cache, ttl=10, stale_while_revalidate_secs=60)
    await bench.get()
    bench.clock.advance(11)
    assert await bench.seen() == ("STALE", "answer 1")
    await settle()
    assert await bench.seen() == ("HIT", "answer 2")


async def test_an_unchanged_response_is_confirmed() -> None:
    bench = Bench(Origin(cache_control=SWR, etag='"1"'), **RFC)
    await bench.get()
    bench.clock.advance(11)
    answer = await bench.get(if_none_match='"1"', range="bytes=0-2")
    assert (answer.status, answer.header("apisix-cache-status")) == (304, "STALE")
    await settle()
    assert (bench.origin.last["if-none-match"], bench.origin.calls) == ('"1"', 2)
    assert "range" not in bench.origin.last
    assert await bench.seen() == ("HIT", "answer 1")


async def test_a_head_renews_too() -> None:
    bench = await stale()
    open_gate(bench)
    assert (await bench.get(method="HEAD")).header("apisix-cache-status") == "STALE"
    await settle()
    assert await bench.seen() == ("HIT", "answer 2")


async def test_after_the_window_the_client_waits() -> None:
    bench = await stale()
    bench.clock.advance(60)
    open_gate(bench)
    assert await bench.seen() == ("EXPIRED", "answer 2")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"cache_control": "max-age=5"}, "EXPIRED"),
        ({"cache_control": "no-cache"}, "BYPASS"),
        ({"content_length": "1"}, "EXPIRED"),
        ({"transfer_encoding": "chunked"}, "EXPIRED"),
    ],
    ids=str,
)
async def test_who_waits_all_the_same(headers: dict[str, str], status: str) -> None:
    """Clients that want it fresher, and requests with a body, which is not there twice."""
    bench = await stale()
    open_gate(bench)
    assert await bench.seen(**headers) == (status, "answer 2")


async def test_without_room_the_client_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "MAX_UNDER_WAY", 0)
    bench = await stale()
    open_gate(bench)
    assert await bench.seen() == ("EXPIRED", "answer 2")


@pytest.mark.parametrize("fault", [ConnectError("no node"), OSError("broken app")], ids=str)
async def test_a_renewal_that_fails_is_logged_and_tried_again(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench = await stale()
    open_gate(bench)
    bench.origin.fails = fault
    assert await bench.seen() == ("STALE", "answer 1")
    await settle()
    assert "/ was not renewed in the cache" in caplog.text
    bench.origin.fails = None
    assert await bench.seen() == ("STALE", "answer 1")
    await settle()
    assert await bench.seen() == ("HIT", "answer 3")


async def test_renewals_end_with_the_gateway() -> None:
    bench = await stale()
    await bench.seen()
    await settle(lambda: bench.origin.calls == 2)
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert "pingsix-cache-renewal" in names

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """The lifespan of the wrapped app is over."""

    bench.client._app._app = app  # type: ignore[attr-defined]
    await bench.client.lifespan()
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert "pingsix-cache-renewal" not in names


async def test_a_request_that_is_refused_behind_the_cache_renews_nothing() -> None:
    plugins = {ProxyCache: RFC, LimitCount: {"count": 1, "time_window": 600}}
    bench = Bench.around(Origin(cache_control=SWR), plugins)
    await bench.get()
    bench.clock.advance(11)
    for _ in range(2):
        answer = await bench.get()
        assert (answer.status, answer.header("apisix-cache-status")) == (503, "EXPIRED")
    await settle()
    assert bench.origin.calls == 1


async def test_what_header_filters_do_counts_for_the_renewal_as_well() -> None:
    """A cookie of another plugin keeps a response from being stored, see docs."""
    cookie = {"headers": {"set": {"set-cookie": "a=b"}}, "vars": [["sent_http_x", "==", "1"]]}
    bench = Bench.around(Origin(cache_control=SWR), {ProxyCache: RFC, ResponseRewrite: cookie})
    await bench.get()
    bench.clock.advance(11)
    bench.origin.headers["x"] = "1"
    for _ in range(2):
        assert await bench.seen() == ("STALE", "answer 1")
        await settle()
    assert bench.origin.calls == 3


async def test_a_node_is_asked_behind_the_back() -> None:
    origin = Origin(cache_control="max-age=1, stale-while-revalidate=60", age="2", etag='"1"')
    async with serving(origin, lifespan="off") as node:
        route = {
            "id": "1",
            "uri": "/*",
            "plugins": {"proxy-cache": RFC},
            "upstream": {"nodes": {f"127.0.0.1:{node.port}": 1}},
        }
        pingsix = PingSIX(config={"routes": [route]})
        await pingsix.startup()
        client = Client(pingsix)
        assert (await client.get("/")).header("apisix-cache-status") == "MISS"
        origin.gate = asyncio.Event()
        answer = await client.get("/")
        assert (answer.text, answer.header("apisix-cache-status")) == ("answer 1", "STALE")
        origin.headers |= {"age": "0", "etag": '"2"', "cache-control": "max-age=60"}
        origin.gate.set()
        while (answer := await client.get("/")).header("apisix-cache-status") != "HIT":
            await asyncio.sleep(0.01)
        await pingsix.shutdown()
    assert answer.text == "answer 2"
