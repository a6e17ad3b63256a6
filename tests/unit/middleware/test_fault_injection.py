"""fault-injection: abort, delay, conditions, percentages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware import fault_injection
from pingsix_asgi.middleware.fault_injection import FaultInjection
from pingsix_asgi.middleware.redirect import Redirect
from pingsix_asgi.testing import Client, alone, together


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(fault_injection.asyncio, "sleep", sleep)
    return naps


@pytest.mark.parametrize(
    ("abort", "status", "body"),
    [
        ({"http_status": 503, "body": "no"}, 503, b"no"),
        ({"http_status": 200, "body": "fine"}, 200, b"fine"),
        ({"http_status": 200}, 200, b""),
        ({"http_status": 200, "body": '{"count": $arg_count}'}, 200, b'{"count": 2}'),
        ({"http_status": 405, "percentage": 100, "body": "x"}, 405, b"x"),
        ({"http_status": 405, "percentage": 0, "body": "x"}, 200, b"hello"),
        ({"http_status": 405, "body": "x", "vars": [[["arg_count", "==", 3]]]}, 200, b"hello"),
        (
            {
                "http_status": 405,
                "body": "x",
                "vars": [[["arg_count", "==", 3]], [["arg_count", "==", 2]]],
            },
            405,
            b"x",
        ),
    ],
)
async def test_abort(abort: Any, status: int, body: bytes) -> None:
    answer = await Client(alone(FaultInjection, abort=abort)).get("/?count=2")
    assert (answer.status, answer.body) == (status, body)


async def test_abort_headers_are_templates_and_replace_the_content_type() -> None:
    headers = {"X-A": "$remote_addr", "Content-Type": "text/x", "X-N": 3, "X-B": True}
    app = alone(FaultInjection, abort={"http_status": 200, "body": "{}", "headers": headers})
    answer = await Client(app).get()
    assert answer.header("x-a") == "127.0.0.1"
    assert answer.all("content-type") == ["text/x"]
    assert (answer.header("x-n"), answer.header("x-b")) == ("3", "true")


async def test_delay_comes_first_and_has_its_own_conditions(slept: list[float]) -> None:
    delay = {"duration": 0.25, "vars": [[["arg_d", "==", "1"]]]}
    abort = {"http_status": 403, "vars": [[["arg_a", "==", "1"]]]}
    client = Client(alone(FaultInjection, delay=delay, abort=abort))
    statuses = [
        (await client.get(target)).status for target in ("/", "/?d=1", "/?a=1", "/?a=1&d=1")
    ]
    assert statuses == [200, 200, 403, 403]
    assert slept == [0.25, 0.25]


async def test_a_share_of_the_requests(slept: list[float]) -> None:
    fault_injection.random.seed(7)
    client = Client(alone(FaultInjection, delay={"duration": 1, "percentage": 30}))
    for _ in range(500):
        await client.get()
    assert 100 < len(slept) < 200


async def test_conditions_on_a_field_of_the_body() -> None:
    abort = {"http_status": 403, "vars": [[["post_arg_name", "==", "x"]]]}
    client = Client(alone(FaultInjection, abort=abort))
    form = {"content-type": "application/x-www-form-urlencoded"}
    for body, status in ((b"name=x", 403), (b"name=y", 200)):
        answer = await client.request("POST", "/", headers=form, body=body)
        assert answer.status == status


async def test_abort_beats_redirect() -> None:
    app = together({FaultInjection: {"abort": {"http_status": 200}}, Redirect: {"uri": "/x"}})
    assert (await Client(app).get()).status == 200


async def test_cancellation_ends_a_delay() -> None:
    client = Client(alone(FaultInjection, delay={"duration": 1000}))
    task = asyncio.create_task(client.get())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "at least 1 properties"),
        ({"abort": {}}, 'property "http_status" is required'),
        ({"abort": {"http_status": 100}}, "expected 100 to be at least 200"),
        ({"abort": {"http_status": 200, "percentage": 101}}, "expected 101 to be at most 100"),
        ({"delay": {}}, 'property "duration" is required'),
        ({"delay": {"duration": -1}}, "to be at least 0"),
        ({"delay": {"duration": 1, "vars": [[["a", "bad", 1]]]}}, "delay.vars.0"),
        ({"abort": {"http_status": 200, "vars": [[]] * 21}}, "abort.vars"),
    ],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        alone(FaultInjection, **options)
