"""Variables of the request body in every option that takes variables, whatever phase reads it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi.app import PingSIX
from pingsix_asgi.context import Context
from pingsix_asgi.middleware.file_logger import FileLogger
from pingsix_asgi.plugin.base import Plugin
from pingsix_asgi.plugin.registry import Registry
from pingsix_asgi.testing import Answer, Client, EchoApp
from support.cache_bench import MEMORY, Origin
from support.servers import serving

FORM = {"content-type": "application/x-www-form-urlencoded"}
CACHE = {**MEMORY, "cache_method": ["POST"]}


@asynccontextmanager
async def gateway(app: Any, plugins: dict[str, Any], **route: Any) -> AsyncIterator[Client]:
    routes = [{"id": "1", "uri": "/*", "plugins": plugins, **route}]
    pingsix = PingSIX(app, config={"routes": routes})
    await pingsix.startup()
    try:
        yield Client(pingsix)
    finally:
        await pingsix.shutdown()


async def post(client: Client, body: str, path: str = "/") -> Answer:
    chunks = [body[:2].encode(), body[2:].encode()]
    return await client.request("POST", path, headers=FORM, body=chunks)


@pytest.mark.parametrize("part", ["$request_body", "$post_arg_a", "$graphql_name"])
async def test_a_post_is_not_answered_with_what_another_body_got(part: str) -> None:
    bodies = ["a=1", "a=2"] if part != "$graphql_name" else ["query A {a}", "query B {a}"]
    async with gateway(Origin(), {"proxy-cache": {**CACHE, "cache_key": [part]}}) as client:
        answers = [await post(client, body) for body in (*bodies, *bodies)]
    assert [answer.text for answer in answers] == ["answer 1", "answer 2"] * 2
    statuses = [answer.header("apisix-cache-status") for answer in answers]
    assert statuses == ["MISS", "MISS", "HIT", "HIT"]


async def test_a_body_that_is_too_large_for_its_key_is_not_cached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Context.preload_body, "__defaults__", (8,))
    cache = {**CACHE, "cache_key": ["$uri", "$request_body"]}
    async with gateway(Origin(), {"proxy-cache": cache}) as client:
        answers = [await post(client, f"a={letter * 20}") for letter in "xyx"]
    assert [answer.text for answer in answers] == ["answer 1", "answer 2", "answer 3"]
    assert {answer.header("apisix-cache-status") for answer in answers} == {"BYPASS"}


@pytest.mark.parametrize("option", ["cache_bypass", "no_cache"])
async def test_what_the_body_keeps_from_the_cache(option: str) -> None:
    cache = {**CACHE, "cache_key": ["$uri"], option: ["$post_arg_a"]}
    async with gateway(Origin(), {"proxy-cache": cache}) as client:
        fresh = [(await post(client, "a=1")).text for _ in range(2)]
        kept = [(await post(client, "b=1")).text for _ in range(2)]
    assert (fresh, kept) == (["answer 1", "answer 2"], ["answer 3", "answer 3"])


HEADER = {"headers": {"set": {"x-a": "$post_arg_a"}}}
MOCK = {"response_example": "x", "response_headers": {"x-a": "$post_arg_a"}}
BREAK = {
    "break_response_code": 418,
    "break_response_body": "open",
    "break_response_headers": [{"key": "x-a", "value": "$post_arg_a"}],
}


@pytest.mark.parametrize(
    "plugins",
    [
        {"response-rewrite": HEADER},
        {"response-rewrite": {"headers": {"x-a": "1"}, "vars": [["post_arg_a", "==", "1"]]}},
        {"response-rewrite": {"headers": {"x-a": "$remote_addr"}}, "real-ip": {"source": "REAL"}},
        {"response-rewrite": {**HEADER, "_meta": {"filter": [["post_arg_a", "==", "1"]]}}},
        {
            "response-rewrite": {
                "headers": {"x-a": "1"},
                "_meta": {"filter": [["AND", ["post_arg_a", "==", "1"], ["status", "==", 200]]]},
            }
        },
        {"fault-injection": {"abort": {"http_status": 200, "headers": {"x-a": "$post_arg_a"}}}},
        {"fault-injection": {"abort": {"http_status": 200, "body": "a:$post_arg_a"}}},
        {"mocking": MOCK},
    ],
    ids=lambda plugins: json.dumps(plugins)[:60],
)
async def test_an_answer_that_shows_the_body(plugins: dict[str, Any]) -> None:
    document = json.loads(json.dumps(plugins).replace("REAL", "post_arg_ip"))
    async with gateway(EchoApp(), document) as client:
        answer = await post(client, "a=1&ip=1")
        with_address = await post(client, "a=1&ip=10.0.0.1")
    if "real-ip" in plugins:
        assert with_address.header("x-a") == "10.0.0.1"
    else:
        assert answer.header("x-a") == "1" or answer.text == "a:1"


async def test_an_open_circuit_shows_the_body() -> None:
    breaker = {**BREAK, "unhealthy": {"failures": 1}}
    async with serving(EchoApp(status=500)) as node:
        upstream = {"nodes": {f"127.0.0.1:{node.port}": 1}}
        async with gateway(None, {"api-breaker": breaker}, upstream=upstream) as client:
            assert (await post(client, "a=1")).status == 500
            assert (await post(client, "a=1")).header("x-a") == "1"


async def test_a_limit_that_the_body_gives() -> None:
    limit = {"count": "$post_arg_n", "time_window": 60, "rejected_code": 429}
    rules = {"rules": [{"count": "$post_arg_n", "time_window": 60, "key": "$uri"}]}
    conn = {"conn": "$post_arg_n", "burst": 0, "default_conn_delay": 1, "key": "remote_addr"}
    for plugins in ({"limit-count": limit}, {"limit-count": rules}, {"limit-conn": conn}):
        async with gateway(EchoApp(), plugins) as client:
            assert (await post(client, "n=3")).status == 200, plugins


LOGS = {
    "object": {"log_format": {"body": "$request_body", "in": {"a": "$post_arg_a"}}},
    "text": {"log_format": "$request_body $post_arg_a"},
    "extra": {"log_format_extra": {"body": "$request_body", "in": {"a": "$post_arg_a"}}},
    "match": {"match": [[["post_arg_a", "==", "1"]]], "log_format": {"uri": "$uri"}},
    "request": {"include_req_body": True, "include_req_body_expr": [["post_arg_a", "==", "1"]]},
    "response": {"include_resp_body": True, "include_resp_body_expr": [["post_arg_a", "==", "1"]]},
}


@pytest.mark.parametrize("kind", LOGS)
async def test_a_log_that_shows_the_body(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    app = EchoApp(b"answer")
    async with gateway(app, {"file-logger": {**LOGS[kind], "path": str(path)}}) as client:
        await post(client, "a=1&b=2", "/x")
    assert app.bodies == [b"a=1&b=2"]
    text = path.read_text()
    if kind == "text":
        assert text == "a=1&b=2 1\n"
        return
    entry = json.loads(text)
    match kind:
        case "object" | "extra":
            assert (entry["body"], entry["in"]) == ("a=1&b=2", {"a": "1"})
        case "match":
            assert entry["uri"] == "/x"
        case _:
            wanted = {"request": "a=1&b=2", "response": "answer"}[kind]
            assert entry[kind]["body"] == wanted


async def test_a_format_of_the_metadata_shows_the_body(tmp_path: Path) -> None:
    path = tmp_path / "log"
    metadata = {"id": "file-logger", "path": str(path), "log_format": {"body": "$request_body"}}
    routes = [{"id": "1", "uri": "/*", "plugins": {"file-logger": {}}}]
    pingsix = PingSIX(EchoApp(), config={"routes": routes, "plugin_metadata": [metadata]})
    await pingsix.startup()
    await post(Client(pingsix), "a=1")
    await pingsix.shutdown()
    assert json.loads(path.read_text())["body"] == "a=1"


async def test_a_refused_request_has_its_body_left_alone(tmp_path: Path) -> None:
    """It is read at the logger's place in the access phase, which a refusal does not reach."""
    path = tmp_path / "log"
    logger = {"path": str(path), "log_format": {"body": "$request_body", "status": "$status"}}
    async with gateway(EchoApp(), {"file-logger": logger, "key-auth": {}}) as client:
        await post(client, "a=1")
    assert json.loads(path.read_text()) == {"status": 401, "route_id": "1"}


@pytest.mark.parametrize(
    "key",
    [
        {"hash_on": "vars_combinations", "key": "$request_body"},
        {"hash_on": "vars_combinations", "key": "x$post_arg_a"},
    ],
    ids=lambda key: key["key"],
)
@pytest.mark.parametrize("place", ["route", "traffic-split"])
async def test_a_hash_of_the_body_chooses_the_node(key: dict[str, str], place: str) -> None:
    async with serving(EchoApp(b"1")) as one, serving(EchoApp(b"2")) as two:
        nodes = {f"127.0.0.1:{node.port}": 1 for node in (one, two)}
        upstream = {"type": "chash", "nodes": nodes, **key}
        split = {"traffic-split": {"rules": [{"weighted_upstreams": [{"upstream": upstream}]}]}}
        on_route = place == "route"
        options = {"upstream": upstream} if on_route else {}
        async with gateway(EchoApp(), {} if on_route else split, **options) as client:
            first = [(await post(client, f"a={n}")).text for n in range(20)]
            again = [(await post(client, f"a={n}")).text for n in range(20)]
            assert (await client.get("/")).status == 200
    assert set(first) == {"1", "2"}
    assert first == again


def test_plugins_that_read_no_body_get_no_hook_for_it() -> None:
    logger = FileLogger(FileLogger.Conf(log_format={"uri": "$uri", "fixed": "request_body"}))
    registry = Registry()
    assert not logger.needs_body
    assert not any(registry.find(name).needs_body for name in registry.names())
    assert not Plugin.needs_body
