"""Variables of the request body, wherever a configuration may use them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pingsix_asgi.app import PingSIX
from pingsix_asgi.context import Context
from pingsix_asgi.testing import Client, EchoApp

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
