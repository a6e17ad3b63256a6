"""Variables of the request body, wherever a configuration may use them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pingsix_asgi.app import PingSIX
from pingsix_asgi.context import PRELOAD_BYTES, Context
from pingsix_asgi.testing import Client, EchoApp
from pingsix_asgi.types import Message, Receive, Scope, Send

FORM = {"content-type": "application/x-www-form-urlencoded"}


@asynccontextmanager
async def gateway(app: EchoApp, **route: Any) -> AsyncIterator[Client]:
    config = {"pingsix": {}, "routes": [{"id": "1", "uri": "/*", **route}]}
    pingsix = PingSIX(app, config=config)
    await pingsix.startup()
    try:
        yield Client(pingsix)
    finally:
        await pingsix.shutdown()


@pytest.mark.parametrize(
    "route",
    [
        {"vars": [["post_arg_id", "==", "7"]], "plugins": {"mocking": {"response_example": "yes"}}},
        {
            "plugins": {
                "mocking": {
                    "response_example": "yes",
                    "_meta": {"filter": [["post_arg_id", "==", "7"]]},
                }
            }
        },
    ],
    ids=["route", "_meta.filter"],
)
async def test_a_decision_by_the_body(route: dict[str, Any]) -> None:
    app = EchoApp(b"app")
    async with gateway(app, **route) as client:
        yes = await client.request("POST", "/", headers=FORM, body=[b"a=1&", b"id=7"])
        no = await client.request("POST", "/", headers=FORM, body=[b"a=1&", b"id=8"])
    assert (yes.text, no.text) == ("yes", "app")
    assert app.bodies == [b"a=1&id=8"], "the app still gets the whole body"


async def test_workflow_and_traffic_split_decide_by_the_body() -> None:
    rules = [{"case": [["post_arg.user.name", "==", "x"]], "actions": [["return", {"code": 418}]]}]
    app = EchoApp(b"app")
    json_type = {"content-type": "application/json"}
    body = b'{"user": {"name": "x"}}'
    async with gateway(app, plugins={"workflow": {"rules": rules}}) as client:
        assert (await client.request("POST", "/", headers=json_type, body=body)).status == 418
        assert (await client.request("POST", "/", headers=json_type, body=b"{}")).text == "app"
    broken = {"upstream": {"nodes": {"127.0.0.1:1": 1}}}
    split = [
        {"match": [{"vars": [["post_arg_id", "==", "1"]]}], "weighted_upstreams": [broken]},
    ]
    async with gateway(app, plugins={"traffic-split": {"rules": split}}) as client:
        assert (await client.request("POST", "/", headers=FORM, body=b"id=1")).status == 502
        assert (await client.request("POST", "/", headers=FORM, body=b"id=2")).text == "app"


async def test_a_body_too_large_for_variables_streams_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context.preload_body, "__defaults__", (8,))
    app = EchoApp(b"app")
    body = [b"id=7&", b"x=1234", b"5678"]
    async with gateway(app, vars=[["post_arg_id", "!", "==", "7"]], plugins={}) as client:
        assert (await client.request("POST", "/", headers=FORM, body=body)).text == "app"
    assert app.bodies == [b"id=7&x=12345678"]


async def test_the_body_waits_where_no_route_reads_it() -> None:
    variables = [["post_arg_id", "==", "7"]]
    route = {
        "id": "1",
        "uri": "/form",
        "host": "a.test",
        "vars": variables,
        "plugins": {"cors": {}},
    }
    pingsix = PingSIX(answer_at_once, config={"routes": [route]})

    async def read(path: str, host: str, length: int) -> int:
        """Return how many messages were read before the app answered."""
        count = 0
        counts: list[int] = []

        async def receive() -> Message:
            nonlocal count
            count += 1
            return {"type": "http.request", "body": b"x", "more_body": count < 3}

        async def send(message: Message) -> None:
            counts.append(count)

        headers = [(b"host", host.encode()), (b"content-length", b"%d" % length)]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        await pingsix(scope, receive, send)
        return counts[0]

    await pingsix.startup()
    try:
        assert await read("/form", "a.test", 3) == 3
        assert await read("/form", "b.test", 3) == 0
        assert await read("/other", "a.test", 3) == 0
        assert await read("/form", "a.test", PRELOAD_BYTES + 1) == 0, "announced as too large"
    finally:
        await pingsix.shutdown()


async def answer_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
