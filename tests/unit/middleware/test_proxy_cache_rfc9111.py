"""proxy-cache with cache_control: what RFC 9111 asks of a shared cache."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from pingsix_asgi.errors import ConnectError
from pingsix_asgi.middleware.key_auth import KeyAuth
from pingsix_asgi.middleware.proxy_cache import ProxyCache
from pingsix_asgi.testing import FakeConsumer, FakeConsumers
from support.cache_bench import MEMORY, RFC, Bench, Origin

FRESH = "max-age=100"


@pytest.mark.parametrize(
    ("age", "status"),
    [
        *[("5", "HIT"), ("95", "EXPIRED"), ("x", "MISS"), ("-1", "MISS"), ("1.0", "MISS")],
        *[("", "MISS"), ("0, 0", "MISS"), ("5;a=1", "MISS")],
    ],
)
async def test_an_age_that_cannot_be_read_makes_stale(age: str, status: str) -> None:
    bench = Bench(Origin(cache_control=FRESH, age=age), **RFC)
    await bench.get()
    bench.clock.advance(10)
    assert (await bench.seen())[0] == status


@pytest.mark.parametrize(
    ("name", "is_updated"),
    [
        *[("x-test", True), ("content-type", True), ("content-location", True)],
        *[("content-encoding", False), ("content-md5", False), ("content-range", False)],
    ],
)
async def test_a_304_changes_what_it_may(name: str, is_updated: bool) -> None:
    origin = Origin(cache_control=FRESH, etag='"v1"', **{name: "old"})
    bench = Bench(origin, **RFC)
    await bench.get()
    bench.clock.advance(101)
    origin.headers[name] = "new"
    for status in ("REVALIDATED", "HIT"):
        answer = await bench.get()
        assert answer.header("apisix-cache-status") == status
        assert answer.all(name) == ["new" if is_updated else "old"]
        assert answer.header("content-length") == "8"


async def test_a_304_that_forbids_storing_is_answered_but_not_stored() -> None:
    origin = Origin(cache_control=FRESH, etag='"v1"')
    bench = Bench(origin, **RFC)
    await bench.get()
    bench.clock.advance(101)
    origin.headers["cache-control"] = "no-store"
    assert await bench.seen() == ("REVALIDATED", "answer 1")
    assert await bench.seen() == ("REVALIDATED", "answer 1")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "M-SEARCH"])
async def test_unsafe_requests_outdate_their_uri(method: str) -> None:
    bench = Bench(Origin(cache_control=FRESH), **RFC)
    await bench.get("/a?b")
    bench.origin.status = 500
    await bench.get("/a?b", method)
    assert (await bench.seen("/a?b"))[0] == "HIT"
    bench.origin.status = 200
    await bench.get("/a?b", method)
    assert (await bench.seen("/a?b"))[0] == "MISS"


@pytest.mark.parametrize("name", ["location", "content-location"])
@pytest.mark.parametrize(
    ("value", "is_outdated"),
    [
        *[("/other?q=1", True), ("../other?q=1", True), ("http://TESTSERVER:81/other?q=1", True)],
        *[("/o%74her?q=1", True), ("/other", False), ("http://elsewhere/other?q=1", False)],
        *[("http://[/other?q=1", False), ("/%zz", False)],
    ],
)
async def test_unsafe_requests_outdate_the_uris_they_name(
    name: str, value: str, is_outdated: bool
) -> None:
    bench = Bench(Origin(cache_control=FRESH), **RFC)
    await bench.get("/other?q=1")
    bench.origin.headers[name] = value
    await bench.get("/up/load", "POST")
    assert (await bench.seen("/other?q=1"))[0] == ("MISS" if is_outdated else "HIT")


@pytest.mark.parametrize(
    ("options", "origin", "is_shared"),
    [
        (RFC, FRESH, False),
        (RFC, FRESH + ", public", True),
        (RFC, "s-maxage=100", True),
        (RFC, FRESH + ", must-revalidate", True),
        ({**RFC, "cache_key": ["$uri", "$http_authorization"]}, FRESH, True),
        ({**RFC, "consumer_isolation": False}, FRESH, False),
        (MEMORY, FRESH, False),
        ({**MEMORY, "consumer_isolation": False}, FRESH, True),
    ],
)
async def test_answers_to_unknown_credentials_are_shared_by_leave_of_the_origin_only(
    options: dict[str, Any], origin: str, is_shared: bool
) -> None:
    bench = Bench(Origin(cache_control=origin), **options)
    await bench.get(authorization="Bearer x")
    status, _ = await bench.seen(authorization="Bearer x")
    assert (status == "HIT") == is_shared


async def test_a_user_name_without_its_password_gets_nothing() -> None:
    bench = Bench(Origin(cache_control=FRESH), **RFC)
    right, wrong = (b64encode(text).decode() for text in (b"jack:right", b"jack:wrong"))
    await bench.get(authorization=f"Basic {right}")
    assert (await bench.seen(authorization=f"Basic {wrong}"))[0] == "MISS"


async def test_consumers_have_their_own_responses() -> None:
    jack, jill = FakeConsumer("jack", "k1"), FakeConsumer("jill", "k2")
    plugins = {KeyAuth: {"header": "authorization", "hide_credentials": True}, ProxyCache: RFC}
    bench = Bench.around(Origin(cache_control=FRESH), plugins, consumers=FakeConsumers(jack, jill))
    assert await bench.seen(authorization="k1") == ("MISS", "answer 1")
    assert await bench.seen(authorization="k1") == ("HIT", "answer 1")
    assert await bench.seen(authorization="k2") == ("MISS", "answer 2")


async def test_conditions_of_the_client_wait_for_our_own() -> None:
    origin = Origin(cache_control=FRESH, etag='"v1"')
    bench = Bench(origin, **RFC)
    await bench.get()
    bench.clock.advance(101)
    answer = await bench.get(if_none_match='"v1"', range="bytes=0-1")
    assert (answer.status, answer.body) == (304, b"")
    assert "range" not in origin.last
    bench.clock.advance(101)
    part = await bench.get(range="bytes=0-1")
    assert (part.status, part.text) == (206, "an")
    bench.clock.advance(101)
    origin.headers["etag"] = '"v2"'
    answer = await bench.get(if_none_match='"v2"')
    assert (origin.last["if-none-match"], answer.status, answer.body) == ('"v1"', 304, b"")
    assert answer.header("content-length") is None
    assert await bench.seen() == ("HIT", "answer 4")


async def test_a_304_to_the_client_s_own_condition_renews_nothing() -> None:
    origin = Origin(etag='"v1"')
    bench = Bench(origin, **MEMORY, cache_ttl=10)
    await bench.get()
    bench.clock.advance(11)
    origin.headers["etag"] = '"v2"'
    answer = await bench.get(if_none_match='"v2"')
    assert (answer.status, answer.body) == (304, b"")
    assert await bench.seen() == ("EXPIRED", "answer 3")


@pytest.mark.parametrize(
    ("headers", "status", "text", "content_range"),
    [
        ({"range": "bytes=2-4"}, 206, "234", "bytes 2-4/10"),
        ({"range": "bytes=7-"}, 206, "789", "bytes 7-9/10"),
        ({"range": "bytes=-3"}, 206, "789", "bytes 7-9/10"),
        ({"range": "bytes=8-99"}, 206, "89", "bytes 8-9/10"),
        ({"range": "bytes=10-"}, 416, None, "bytes */10"),
        ({"range": "bytes=-0"}, 416, None, "bytes */10"),
        ({"range": "bytes=4-2"}, 200, "0123456789", None),
        ({"range": "bytes=0-1,3-4"}, 200, "0123456789", None),
        ({"range": "lines=0-1"}, 200, "0123456789", None),
        ({"range": "bytes=0-0", "if_range": '"v1"'}, 206, "0", "bytes 0-0/10"),
        ({"range": "bytes=0-0", "if_range": '"v2"'}, 200, "0123456789", None),
        ({"range": "bytes=0-0", "if_range": 'W/"v1"'}, 200, "0123456789", None),
        ({"range": "bytes=0-0", "if_range": "a date"}, 206, "0", "bytes 0-0/10"),
    ],
)
async def test_parts_of_stored_responses(
    headers: dict[str, str], status: int, text: str | None, content_range: str | None
) -> None:
    origin = Origin(cache_control=FRESH, etag='"v1"', last_modified="a date")
    origin.body = b"0123456789"
    bench = Bench(origin, **RFC)
    await bench.get()
    answer = await bench.get(**headers)
    assert (answer.status, answer.header("content-range")) == (status, content_range)
    assert origin.calls == 1
    if text is not None:
        assert answer.text == text


async def test_a_weak_tag_is_not_enough_for_a_part() -> None:
    bench = Bench(Origin(cache_control=FRESH, etag='W/"v1"'), **RFC)
    await bench.get()
    assert (await bench.get(range="bytes=0-0", if_range='W/"v1"')).status == 200


async def test_parts_are_never_stored() -> None:
    origin = Origin(cache_control=FRESH, content_range="bytes 0-1/9")
    origin.status = 206
    bench = Bench(origin, **{**RFC, "cache_http_status": [206]})
    await bench.get(range="bytes=0-1")
    assert (await bench.seen(range="bytes=0-1"))[0] == "MISS"


async def test_no_cache_is_stored_and_always_asked_about() -> None:
    origin = Origin(cache_control="no-cache, max-age=100, stale-if-error=100", etag='"v1"')
    bench = Bench(origin, **RFC)
    await bench.get()
    assert await bench.seen() == ("REVALIDATED", "answer 1")
    assert await bench.seen(cache_control="max-stale") == ("REVALIDATED", "answer 1")
    origin.headers["etag"] = '"v2"'
    origin.status = 503
    assert (await bench.get()).status == 503


@pytest.mark.parametrize(("said", "status"), [("", 200), (", must-revalidate", 502)])
async def test_a_stale_response_stands_in_for_an_origin_out_of_reach(
    said: str, status: int
) -> None:
    bench = Bench(Origin(cache_control="max-age=10, stale-if-error=60" + said), **RFC)
    await bench.get()
    bench.origin.fails = ConnectError("refused")
    bench.clock.advance(11)
    assert (await bench.get()).status == status


async def test_must_understand_needs_a_status_whose_meaning_is_known() -> None:
    origin = Origin(cache_control=FRESH + ", must-understand")
    bench = Bench(origin, **{**RFC, "cache_http_status": [200, 299]})
    await bench.get("/known")
    assert (await bench.seen("/known"))[0] == "HIT"
    origin.status = 299
    await bench.get("/unknown")
    assert (await bench.seen("/unknown"))[0] == "MISS"


async def test_languages_are_the_same_in_any_case() -> None:
    bench = Bench(Origin(cache_control=FRESH, vary="Accept-Language, X-Other"), **RFC)
    await bench.get(accept_language="en, DE", x_other="a")
    assert (await bench.seen(accept_language="EN,de", x_other="a"))[0] == "HIT"
    assert (await bench.seen(accept_language="de, en", x_other="a"))[0] == "MISS"
    assert (await bench.seen(accept_language="en, de", x_other="A"))[0] == "MISS"
