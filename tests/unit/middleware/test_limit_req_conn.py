"""limit-req and limit-conn in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware import limit_conn, limit_req
from pingsix_asgi.middleware.limit_conn import LimitConn
from pingsix_asgi.middleware.limit_req import LimitReq
from pingsix_asgi.testing import Client, EchoApp, FakeClock, alone, together

REQ: dict[str, Any] = {"rate": 2, "burst": 2, "key": "remote_addr"}
CONN: dict[str, Any] = {"conn": 1, "burst": 1, "default_conn_delay": 0.1, "key": "remote_addr"}


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(round(seconds, 6))

    monkeypatch.setattr(limit_req.asyncio, "sleep", sleep)
    return naps


async def test_early_requests_wait_and_too_early_ones_are_refused(slept: list[float]) -> None:
    clock = FakeClock()
    client = Client(together({LimitReq: REQ}, clock=clock))
    assert [(await client.get()).status for _ in range(4)] == [200, 200, 200, 503]
    assert slept == [0.5, 1.0]
    clock.advance(0.5)
    assert [(await client.get()).status for _ in range(2)] == [200, 503]


async def test_nodelay_lets_the_burst_pass(slept: list[float]) -> None:
    client = Client(together({LimitReq: {**REQ, "nodelay": True}}, clock=FakeClock()))
    assert [(await client.get()).status for _ in range(4)] == [200, 200, 200, 503]
    assert slept == []


async def test_limit_req_keys_and_refusal() -> None:
    options = {"rate": 1, "burst": 0, "key": "$http_a$http_b", "key_type": "var_combination"}
    client = Client(
        together(
            {LimitReq: {**options, "rejected_code": 429, "rejected_msg": "late"}}, clock=FakeClock()
        )
    )
    assert (await client.get("/", {"a": "1"})).status == 200
    assert (await client.get("/", {"a": "2"})).status == 200
    refused = await client.get("/", {"a": "1"})
    assert (refused.status, refused.json()) == (429, {"error_msg": "late"})


class SlowApp(EchoApp):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.waiting += 1
        await self.go.wait()
        self.waiting -= 1
        await super().__call__(scope, receive, send)


async def start(client: Client, app: SlowApp, until: int) -> asyncio.Task[Any]:
    task = asyncio.create_task(client.get())
    while app.waiting < until and not task.done():
        await asyncio.sleep(0.001)
    return task


async def test_too_many_at_once_are_refused_until_one_ends() -> None:
    app = SlowApp()
    client = Client(alone(LimitConn, app, **{**CONN, "default_conn_delay": 0.001}))
    tasks = [await start(client, app, 1), await start(client, app, 2)]
    assert (await client.get()).status == 503
    app.go.set()
    assert [(await task).status for task in tasks] == [200, 200]
    assert (await client.get()).status == 200


async def test_a_cancelled_request_is_counted_off() -> None:
    app = SlowApp()
    client = Client(alone(LimitConn, app, **{**CONN, "burst": 0}))
    task = await start(client, app, 1)
    assert (await client.get()).status == 503
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    app.go.set()
    assert (await client.get()).status == 200


async def test_a_refused_request_is_not_counted_off() -> None:
    app = SlowApp()
    client = Client(alone(LimitConn, app, **{**CONN, "burst": 0}))
    task = await start(client, app, 1)
    for _ in range(3):
        assert (await client.get()).status == 503
    app.go.set()
    await task


async def test_rules_and_numbers_from_variables() -> None:
    options: dict[str, Any] = {
        "default_conn_delay": 0.1,
        "rules": [
            {"conn": 1, "burst": 0, "key": "$http_a"},
            {"conn": "$http_n", "burst": "${http_m ?? 0}", "key": "$http_b"},
        ],
    }
    client = Client(alone(LimitConn, **options))
    assert (await client.get("/", {"a": "1"})).status == 200
    assert (await client.get("/", {"b": "1", "n": "1"})).status == 200
    assert (await client.get("/", {"b": "1", "n": "0"})).status == 500
    assert (await client.get()).status == 500
    assert (await Client(alone(LimitConn, **options, allow_degradation=True)).get()).status == 200


async def test_above_conn_waits_for_each_full_conn(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    app = SlowApp()
    client = Client(alone(LimitConn, app, **{**CONN, "burst": 3}))
    first = await start(client, app, 1)
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds >= 0.1:
            naps.append(round(seconds, 3))
            seconds = 0
        await real(seconds)

    monkeypatch.setattr(limit_conn.asyncio, "sleep", sleep)
    tasks = [first, await start(client, app, 2), await start(client, app, 3)]
    app.go.set()
    await asyncio.gather(*tasks)
    assert naps == [0.1, 0.2]


@pytest.mark.parametrize(("is_fixed", "waited"), [(False, [0.1, 0.3, 0.7]), (True, [0.1] * 3)])
async def test_the_delay_follows_what_requests_take(
    is_fixed: bool, waited: list[float], slept: list[float]
) -> None:
    clock = FakeClock()

    async def takes_its_time(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/twice":  # the inner request is one above conn
            assert (await client.get("/")).status == 200
        if path.startswith("/for/"):
            clock.advance(float(path.removeprefix("/for/")))
        await EchoApp()(scope, receive, send)

    conf: Any = {LimitConn: {**CONN, "only_use_default_delay": is_fixed}}
    client = Client(together(conf, takes_its_time, clock=clock))
    await client.get("/twice")  # two requests that take no time: the delay is a quarter
    for seconds in (0.575, 1.325):
        await client.get(f"/for/{seconds}")
        await client.get("/twice")
    assert [round(seconds, 3) for seconds in slept] == waited


@pytest.mark.parametrize(
    ("plugin", "options", "text"),
    [
        (LimitReq, {**REQ, "rate": 0}, "strictly greater than 0"),
        (LimitReq, {**REQ, "burst": -1}, "at least 0"),
        (LimitReq, {"rate": 1, "burst": 0}, '"key" is required'),
        (LimitConn, {**CONN, "conn": 0}, "should match only one schema"),
        (LimitConn, {"conn": 1, "burst": 1, "key": "a"}, '"default_conn_delay" is required'),
        (LimitConn, {"default_conn_delay": 1}, "matches none"),
        (LimitConn, {**CONN, "rules": [{"conn": 1, "burst": 0, "key": "a"}]}, "schemas 1 and 2"),
    ],
)
def test_bad_options(plugin: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        alone(plugin, **options)
