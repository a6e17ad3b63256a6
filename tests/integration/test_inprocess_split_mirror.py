"""traffic-split and proxy-mirror between the wrapped app and real upstreams."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pingsix_asgi.app import PingSIX
from pingsix_asgi.errors import InvalidConfig
from pingsix_asgi.testing import Client, EchoApp
from support.servers import serving


@asynccontextmanager
async def gateway(app: EchoApp | None, plugins: Any, **more: Any) -> AsyncIterator[Client]:
    route = {"id": "1", "uri": "/*", "plugins": plugins, **more.pop("route", {})}
    pingsix = PingSIX(app, config={"routes": [route], **more})
    await pingsix.startup()
    try:
        yield Client(pingsix)
    finally:
        await pingsix.shutdown()


async def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        await asyncio.sleep(0.01)


async def test_shares_are_dealt_exactly_between_the_app_and_upstreams() -> None:
    local = EchoApp(b"local")
    async with serving(EchoApp(b"blue")) as blue, serving(EchoApp(b"green")) as green:
        shares = [
            {"upstream_id": "blue", "weight": 2},
            {"upstream": {"nodes": {f"127.0.0.1:{green.port}": 1}}, "weight": 1},
            {"weight": 2},
            {"upstream_id": "blue", "weight": 0},
        ]
        plugins = {"traffic-split": {"rules": [{"weighted_upstreams": shares}]}}
        upstreams = [{"id": "blue", "nodes": {f"127.0.0.1:{blue.port}": 1}}]
        async with gateway(local, plugins, upstreams=upstreams) as client:
            answers = [(await client.get("/")).text for _ in range(10)]
    assert Counter(answers) == {"blue": 4, "green": 2, "local": 4}
    assert Counter(answers[:5]) == {"blue": 2, "green": 1, "local": 2}


async def test_the_first_rule_that_matches_decides() -> None:
    async with serving(EchoApp(b"canary")) as canary:
        upstream = {"nodes": {f"127.0.0.1:{canary.port}": 1}}
        rules = [
            {
                "match": [
                    {"vars": [["http_x-release", "==", "canary"]]},
                    {"vars": [["cookie_release", "==", "canary"]]},
                ],
                "weighted_upstreams": [{"upstream": upstream}],
            },
            {"vars": [["arg_c", "==", "1"]], "weighted_upstreams": [{"upstream": upstream}]},
        ]
        async with gateway(EchoApp(b"local"), {"traffic-split": {"rules": rules}}) as client:
            assert (await client.get("/")).text == "local"
            assert (await client.get("/", {"x-release": "canary"})).text == "canary"
            assert (await client.get("/", {"cookie": "a=b; release=canary"})).text == "canary"
            assert (await client.get("/?c=1")).text == "canary"


async def test_an_unknown_upstream_is_told_and_a_bad_rule_is_refused() -> None:
    rules: Any = [{"weighted_upstreams": [{"upstream_id": "none"}]}]
    with pytest.raises(InvalidConfig, match="none"):
        async with gateway(EchoApp(), {"traffic-split": {"rules": rules}}):
            pass
    rules = [{"match": [{"vars": [["uri", "=~", "x"]]}]}]
    with pytest.raises(InvalidConfig, match="invalid operator"):
        async with gateway(EchoApp(), {"traffic-split": {"rules": rules}}):
            pass


async def test_copies_go_to_the_mirror_and_its_answers_nowhere() -> None:
    mirror, app = EchoApp(b"mirror", status=500), EchoApp(b"app")
    async with serving(mirror) as served:
        plugins = {
            "proxy-mirror": {
                "host": served.url,
                "path": "/copy",
                "path_concat_mode": "prefix",
            }
        }
        async with gateway(app, plugins) as client:
            body = {"content-length": "4", "x-a": "b", "connection": "close"}
            answer = await client.request("POST", "/p%20q?x=1", headers=body, body=b"body")
            assert (answer.status, answer.text, app.bodies) == (200, "app", [b"body"])
            await until(lambda: mirror.bodies)
            scope = mirror.scopes[0]
            assert (scope["method"], scope["raw_path"]) == ("POST", b"/copy/p%20q")
            assert (scope["query_string"], mirror.bodies) == (b"x=1", [b"body"])
            assert mirror.header("x-a") == "b"


async def test_a_dead_mirror_hurts_nobody() -> None:
    plugins = {"proxy-mirror": {"host": "http://127.0.0.1:1", "sample_ratio": 1}}
    async with gateway(EchoApp(b"app"), plugins) as client:
        assert [(await client.get("/")).text for _ in range(3)] == ["app"] * 3
