"""proxy-cache and cache, against an origin whose answers and calls the test controls."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.types import Receive, Scope, Send
from support.cache_bench import MEMORY, RFC, Bench, Origin


async def test_a_response_is_kept_for_its_time_and_purged_on_request() -> None:
    bench = Bench(Origin(), **MEMORY, cache_ttl=10)
    assert await bench.seen() == ("MISS", "answer 1")
    bench.clock.advance(4)
    hit = await bench.get()
    assert hit.header("apisix-cache-status") == "HIT"
    assert (hit.text, hit.header("age")) == ("answer 1", "4")
    assert await bench.seen("/?other") == ("MISS", "answer 2")
    bench.clock.advance(6)
    assert await bench.seen() == ("EXPIRED", "answer 3")
    assert (await bench.get(method="PURGE")).status == 200
    assert (await bench.get(method="PURGE")).status == 404
    assert await bench.seen() == ("MISS", "answer 4")


async def test_head_is_answered_from_get_and_other_methods_pass() -> None:
    bench = Bench(Origin(), **MEMORY)
    await bench.get()
    head = await bench.get(method="HEAD")
    assert (head.header("apisix-cache-status"), head.body) == ("HIT", b"")
    assert head.header("content-length") == "8"
    assert await bench.seen(method="DELETE") == ("MISS", "answer 2")


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        ({"cache_control": "private"}, {}),
        ({"cache_control": "no-store"}, {}),
        ({"cache_control": "no-cache"}, {}),
        ({"vary": "accept, *"}, {}),
        ({"set_cookie": "a=b"}, {}),
        ({}, {"cache_http_status": [404]}),
        ({}, {"max_resp_body_size": 8}),
        ({}, {"no_cache": ["$arg_n"]}),
    ],
)
async def test_what_is_never_kept(headers: dict[str, str], options: dict[str, Any]) -> None:
    bench = Bench(Origin(**headers), **MEMORY, **options)
    assert await bench.seen("/?n=1") == ("MISS", "answer 1")
    assert await bench.seen("/?n=1") == ("MISS", "answer 2")


async def test_bypass_goes_to_the_origin_and_leaves_the_cache_alone() -> None:
    bench = Bench(Origin(), **MEMORY, cache_key=["$uri"], cache_bypass=["$arg_bypass"])
    await bench.get()
    assert await bench.seen("/?bypass=1") == ("BYPASS", "answer 2")
    assert await bench.seen("/?bypass=0") == ("HIT", "answer 1")


async def test_variants_by_vary() -> None:
    bench = Bench(Origin(vary="Accept-Language"), **MEMORY)
    assert await bench.seen(accept_language="de") == ("MISS", "answer 1")
    assert await bench.seen(accept_language="en") == ("MISS", "answer 2")
    assert await bench.seen(accept_language="de") == ("HIT", "answer 1")
    assert await bench.seen(accept_language="en") == ("HIT", "answer 2")


@pytest.mark.parametrize(
    ("origin", "age", "fresh"),
    [
        ({"cache_control": "max-age=20"}, 15, True),
        ({"cache_control": "max-age=20"}, 25, False),
        ({"cache_control": "max-age=5, s-maxage=20"}, 15, True),
        ({"cache_control": "max-age=20", "age": "10"}, 15, False),
        ({"cache_control": 'max-age="20"'}, 15, True),
        ({"expires": formatdate(1_000_020), "date": formatdate(1_000_000)}, 15, True),
        ({"expires": "0"}, 0, False),
        ({}, 0, True),
        ({}, 2, False),
    ],
)
async def test_origin_freshness(origin: dict[str, str], age: int, fresh: bool) -> None:
    bench = Bench(Origin(**origin), **RFC)
    await bench.get()
    bench.clock.advance(age)
    status, _ = await bench.seen()
    assert (status == "HIT") == fresh


@pytest.mark.parametrize(
    ("header", "age", "status"),
    [
        ("no-cache", 1, "BYPASS"),
        ("no-store", 1, "BYPASS"),
        ("max-age=5", 8, "STALE"),
        ("max-age=5", 12, "EXPIRED"),
        ("min-fresh=5", 8, "STALE"),
        ("min-fresh=1", 8, "HIT"),
        ("max-stale=5", 12, "STALE"),
        ("max-stale", 50, "STALE"),
        ("max-stale=1", 12, "EXPIRED"),
    ],
)
async def test_client_directives(header: str, age: int, status: str) -> None:
    bench = Bench(Origin(cache_control="max-age=10"), **RFC)
    await bench.get()
    bench.clock.advance(age)
    assert (await bench.seen(cache_control=header))[0] == status


async def test_only_if_cached_without_an_entry_is_504() -> None:
    bench = Bench(Origin(), **RFC)
    assert (await bench.get(cache_control="only-if-cached")).status == 504


async def test_a_confirmed_stale_response_is_renewed_and_sent_whole() -> None:
    bench = Bench(Origin(cache_control="max-age=10", etag='"v1"'), **RFC)
    await bench.get()
    bench.clock.advance(11)
    answer = await bench.get(if_none_match='"else"')
    assert bench.origin.last["if-none-match"] == '"v1"'
    assert (answer.status, answer.text) == (200, "answer 1")
    assert answer.header("apisix-cache-status") == "REVALIDATED"
    assert await bench.seen() == ("HIT", "answer 1")


async def test_conditional_requests_are_answered_from_the_store() -> None:
    bench = Bench(Origin(cache_control="max-age=10", etag='W/"v1"'), **RFC)
    await bench.get()
    answer = await bench.get(if_none_match='"v0", "v1"')
    assert (answer.status, answer.body) == (304, b"")
    assert bench.origin.calls == 1


async def test_a_stale_response_stands_in_for_a_failing_origin() -> None:
    bench = Bench(Origin(cache_control="max-age=10, stale-if-error=60"), **RFC)
    await bench.get()
    bench.origin.status = 503
    bench.clock.advance(11)
    answer = await bench.get()
    assert (answer.status, answer.text) == (200, "answer 1")
    assert answer.header("apisix-cache-status") == "STALE"
    bench.clock.advance(100)
    assert (await bench.get()).status == 503


async def test_an_unsafe_request_makes_the_stored_response_stale() -> None:
    bench = Bench(Origin(cache_control="max-age=10"), **RFC)
    await bench.get()
    await bench.get(method="DELETE")
    assert await bench.seen() == ("MISS", "answer 3")


async def test_an_aborted_fetch_is_not_kept_and_lets_the_next_one_through() -> None:
    class Breaks(Origin):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if self.calls:
                await super().__call__(scope, receive, send)
                return
            self.calls += 1
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise ConnectionError

    bench = Bench(Breaks(), **MEMORY)
    with pytest.raises(ConnectionError):
        await bench.get()
    assert await bench.seen() == ("MISS", "answer 2")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cache_zone": "none"}, "cache_zone none not found"),
        ({"cache_strategy": "memory"}, "invalid or empty cache_zone"),
        ({"cache_key": ["$host", "$request_method"]}, r"\$request_method unsupported"),
    ],
)
def test_bad_confs(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        Bench(Origin(), **options)


async def test_variables_that_are_not_set_are_empty_in_a_key() -> None:
    bench = Bench(Origin(), **MEMORY, cache_key=["$arg_a"])
    assert await bench.seen("/x") == ("MISS", "answer 1")
    assert await bench.seen("/y") == ("HIT", "answer 1")
    assert await bench.seen("/y?a=1") == ("MISS", "answer 2")
