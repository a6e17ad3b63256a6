"""PingSIX's cache: who it is for, what it shows and counts."""

from __future__ import annotations

from typing import Any

from pingsix_asgi.adapters import LoneMatch
from pingsix_asgi.middleware.key_auth import KeyAuth
from pingsix_asgi.middleware.proxy_cache import Cache
from pingsix_asgi.shared.metrics import Metrics
from pingsix_asgi.testing import FakeConsumer, FakeConsumers
from support.cache_bench import Bench, Origin


async def test_pingsix_cache_shows_nothing_for_requests_it_is_not_for() -> None:
    bench = Bench(Origin(), Cache, ttl=10, no_cache_str=["^/never"])
    first = await bench.get()
    assert (first.header("x-cache-status"), first.header("x-cache-scope")) == ("MISS", "local")
    assert await bench.seen() == ("HIT", "answer 1")
    assert await bench.seen(cookie="a=b") == ("", "answer 2")
    assert await bench.seen(x_bypass_cache="1") == ("BYPASS", "answer 3")
    assert await bench.seen("/never") == ("", "answer 4")
    assert await bench.seen(cache_control="no-cache") == ("BYPASS", "answer 5")
    assert await bench.seen(method="PURGE") == ("", "answer 6")


async def test_pingsix_cache_outdates_with_unsafe_requests_that_it_is_not_for() -> None:
    bench = Bench(Origin(), Cache, ttl=10)
    await bench.get()
    await bench.get(method="PUT", cookie="a=b")
    assert await bench.seen() == ("MISS", "answer 3")


async def test_pingsix_cache_behind_an_auth_plugin() -> None:
    jack = FakeConsumer("jack", "k1")
    plugins = {KeyAuth: {"hide_credentials": True, "key": "k9"}, Cache: {"ttl": 10}}
    bench = Bench.around(Origin(), plugins, consumers=FakeConsumers(jack))
    for number in (1, 2):
        assert await bench.seen(apikey="k9") == ("", f"answer {number}")
    opted = {**plugins, Cache: {"ttl": 10, "cache_authenticated_requests": True}}
    bench = Bench.around(Origin(), opted, consumers=FakeConsumers(jack))
    await bench.get(apikey="k9")
    assert (await bench.seen(apikey="k9"))[0] == "MISS"
    bench.origin.headers["cache-control"] = "public"
    await bench.get(apikey="k9")
    assert (await bench.seen(apikey="k9"))[0] == "HIT"


async def test_outcomes_are_counted() -> None:
    bench = Bench(Origin(), Cache, ttl=10)
    for _ in range(3):
        await bench.get()
    await bench.get(x_bypass_cache="1")
    app: Any = bench.client._app
    kept = app._kept
    (metrics,) = (value for value in kept.values() if isinstance(value, Metrics))
    assert {name: values[0] for name, values in metrics.totals().items()} == {
        ("cache_requests_total", "miss", "local"): 1,
        ("cache_requests_total", "hit", "local"): 2,
        ("cache_requests_total", "bypass", "local"): 1,
    }


async def test_a_changed_route_begins_an_empty_cache() -> None:
    bench = Bench(Origin(), Cache, ttl=10)
    await bench.get()
    app: Any = bench.client._app
    app._match = LoneMatch(app._match.plan, app._match.target)
    assert (await bench.seen())[0] == "MISS"
    assert (await bench.seen())[0] == "HIT"
