"""What the wrapped app sees and what passes through: scope, state, context, sockets, extensions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from pingsix_asgi import Context, PingSIX, Plugin
from pingsix_asgi.testing import Client
from pingsix_asgi.types import Message, Receive, Scope, Send
from support.servers import serving
from support.wrapped import GREETING, STARTS, fastapi_app

ADD = {"proxy-rewrite": {"headers": {"set": {"X-Added": "by the gateway"}}}}


def route(uri: str = "/*", **fields: Any) -> dict[str, Any]:
    return {"routes": [{"id": "1", "uri": uri, **fields}]}


@contextlib.asynccontextmanager
async def client_of(app: Any, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serving(app, **options) as served,
        httpx2.AsyncClient(base_url=served.url, timeout=20) as client,
    ):
        yield client


class Greet(Plugin):
    """Sets a context variable in the access phase."""

    name = "greet"
    priority = 1

    def access(self, ctx: Context) -> None:
        GREETING.set("gateway")


class Outside:
    """A middleware around the gateway: context variables go in, and come back out."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.seen: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            GREETING.set("outside")
        await self.app(scope, receive, send)
        self.seen.append(GREETING.get())


async def test_the_scope_of_the_app() -> None:
    app = PingSIX(fastapi_app(), config=route(plugins=ADD))
    async with client_of(app, root_path="/api") as client:
        seen = (await client.get("/seen?a=b%20c")).json()
        assert (await client.get("/url")).json().endswith("/api/hello")
    assert seen["header"] == "by the gateway"
    assert seen["query"] == "a=b%20c"
    assert seen["root_path"] == "/api"
    assert seen["path"] == "/api/seen"
    assert seen["client"] == "127.0.0.1"


async def test_the_client_after_real_ip() -> None:
    plugins = {"real-ip": {"source": "http_x_real_ip", "trusted_addresses": ["127.0.0.0/8"]}}
    app = PingSIX(fastapi_app(), config=route(plugins=plugins))
    async with client_of(app, proxy_headers=False) as client:
        seen = (await client.get("/seen", headers={"X-Real-IP": "10.1.2.3"})).json()
    assert seen["client"] == "10.1.2.3"


async def test_lifespan_and_its_state() -> None:
    STARTS.clear()
    app = PingSIX(fastapi_app(), config=route(plugins=ADD))
    async with client_of(app, lifespan="on") as client:
        assert STARTS == ["up"]
        assert (await client.get("/seen")).json()["state"] == "open"
    assert STARTS == ["up", "down"]


async def test_an_app_that_cannot_start_stops_the_server(caplog: pytest.LogCaptureFixture) -> None:
    @contextlib.asynccontextmanager
    async def broken(app: Starlette) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    with pytest.raises(RuntimeError, match="lifespan"):
        async with client_of(PingSIX(Starlette(lifespan=broken))):
            pass
    assert "no database" in caplog.text


async def test_a_gateway_that_cannot_start_stops_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    STARTS.clear()
    app = PingSIX(fastapi_app(), config=route(5))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="lifespan"):
        async with client_of(app):
            pass
    assert "routes/1" in caplog.text
    assert STARTS == []


async def test_without_lifespan_the_first_requests_start_the_gateway_once() -> None:
    app = PingSIX(fastapi_app(), config=route(plugins=ADD))
    async with client_of(app, lifespan="off") as client:
        answers = await asyncio.gather(*[client.get("/seen") for _ in range(20)])
        assert {answer.json()["header"] for answer in answers} == {"by the gateway"}
        published = app.runtime.published
        await client.get("/seen")
        assert app.runtime.published == published == 1
    await app.shutdown()


async def test_without_lifespan_a_broken_configuration_fails_every_request() -> None:
    app = PingSIX(fastapi_app(), config=route(5))  # type: ignore[arg-type]
    async with client_of(app, lifespan="off") as client:
        assert [(await client.get("/hello")).status_code for _ in range(2)] == [500, 500]


def test_a_test_client_without_lifespan_makes_a_loop_per_request() -> None:
    app = PingSIX(fastapi_app(), config=route(plugins=ADD))
    client = TestClient(app)
    for _ in range(3):
        assert client.get("/seen").json()["header"] == "by the gateway"


def test_a_test_client_with_lifespan() -> None:
    STARTS.clear()
    app = PingSIX(fastapi_app(), config=route(plugins=ADD))
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/seen").json()["state"] == "open"
    assert STARTS == ["up", "down"] * 2


async def test_context_variables_both_ways() -> None:
    outside = Outside(PingSIX(fastapi_app(), config=route(plugins={"greet": {}}), plugins=[Greet]))
    plain = Outside(PingSIX(fastapi_app()))
    async with client_of(outside, lifespan="off") as client:
        assert (await client.get("/seen")).json()["greeting"] == "gateway"
    assert outside.seen == ["gateway"]
    async with client_of(plain, lifespan="off") as client:
        assert (await client.get("/seen")).json()["greeting"] == "outside"


async def test_an_exception_of_the_app_reaches_what_is_outside() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("mine")

    for config in ({}, route(plugins=ADD)):
        gateway = PingSIX(app, config=config)
        with pytest.raises(KeyError, match="mine"):
            await Client(gateway).get("/")
        await gateway.shutdown()


async def test_without_a_route_the_app_gets_what_the_server_gave() -> None:
    given: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given.extend((scope, receive, send))

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "//a/../b",
        "raw_path": b"//a/../b",
        "headers": [],
        "query_string": b"",
    }
    gateway = PingSIX(app)
    await gateway(scope, receive, send)
    assert [one is other for one, other in zip(given, (scope, receive, send), strict=True)] == [
        True
    ] * 3
    await gateway.shutdown()


async def test_global_rules_see_what_no_route_takes() -> None:
    rules = [{"id": "1", "plugins": {"response-rewrite": {"headers": {"set": {"X-Rule": "1"}}}}}]
    app = PingSIX(fastapi_app(), config={"global_rules": rules})
    async with client_of(app) as client:
        answer = await client.get("/hello")
        assert (answer.json(), answer.headers["x-rule"]) == ("fastapi", "1")
        assert (await client.get("/none")).headers["x-rule"] == "1"


@pytest.mark.parametrize("config", [{}, route(plugins=ADD)], ids=["no route", "route"])
async def test_websockets(config: Any) -> None:
    async with serving(PingSIX(fastapi_app(), config=config)) as served:
        url = served.url.replace("http", "ws") + "/socket"
        async with websockets.connect(url, subprotocols=["chat"]) as socket:  # type: ignore[list-item]
            assert socket.subprotocol == "chat"
            await socket.send("hello")
            assert await socket.recv() == "HELLO"
            await socket.send("bye")
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you wish")


async def test_a_refused_handshake() -> None:
    plugins = {"ip-restriction": {"whitelist": ["10.0.0.1"]}}
    async with serving(PingSIX(fastapi_app(), config=route(plugins=plugins))) as served:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with websockets.connect(served.url.replace("http", "ws") + "/socket"):
                pass
    assert refused.value.response.status_code == 403


EXTENSIONS = {"http.response.pathsend": {}, "http.response.early_hint": {}}


async def conversation(gateway: Any, extensions: dict[str, Any]) -> list[Message]:
    sent: list[Message] = []

    incoming: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return incoming.pop() if incoming else await asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "headers": [],
        "query_string": b"",
        "extensions": extensions,
    }
    await gateway(scope, receive, send)
    await gateway.shutdown()
    return sent


@pytest.mark.parametrize("config", [{}, route(plugins=ADD)], ids=["no route", "route"])
async def test_files_are_sent_by_the_server(config: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    app = Starlette(routes=[Route("/", lambda _: FileResponse(tmp_path / "file"))])
    sent = await conversation(PingSIX(app, config=config), EXTENSIONS)
    assert [message["type"] for message in sent] == [
        "http.response.start",
        "http.response.pathsend",
    ]


async def test_files_pass_a_body_filter_as_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    app = Starlette(routes=[Route("/", lambda _: FileResponse(tmp_path / "file"))])
    config = route(plugins={"response-rewrite": {"body": "other"}})
    sent = await conversation(PingSIX(app, config=config), EXTENSIONS)
    assert b"".join(message.get("body", b"") for message in sent[1:]) == b"other"


@pytest.mark.parametrize("config", [{}, route(plugins=ADD)], ids=["no route", "route"])
async def test_early_hints_and_trailers_pass(config: Any) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"x", "more_body": False})
        await send({"type": "http.response.trailers", "headers": [(b"a", b"b")]})

    sent = await conversation(PingSIX(app, config=config), {"http.response.trailers": {}})
    assert [message["type"].rpartition(".")[2] for message in sent] == [
        "early_hint",
        "start",
        "body",
        "trailers",
    ]
    assert sent[1]["trailers"] is True


async def test_mounted_under_another_app() -> None:
    inner = PingSIX(fastapi_app(), config=route("/shop/seen", plugins=ADD))
    async with client_of(Starlette(routes=[Mount("/shop", inner)])) as client:
        seen = (await client.get("/shop/seen")).json()
        assert seen["header"] == "by the gateway"
        assert (await client.get("/shop/hello")).json() == "fastapi"
    await inner.shutdown()


async def test_a_node_may_be_the_app() -> None:
    upstream = {"type": "roundrobin", "nodes": {"@app:1": 1}}
    app = PingSIX(fastapi_app(), config=route(upstream=upstream))
    async with client_of(app) as client:
        assert (await client.get("/hello")).json() == "fastapi"


def test_what_is_no_asgi_app_is_refused() -> None:
    def wsgi(environ: Any, start_response: Any) -> Any: ...

    for app in (wsgi, object()):
        with pytest.raises(TypeError, match="not an ASGI app"):
            PingSIX(app)


async def test_an_asgi_2_app() -> None:
    class App:
        def __init__(self, scope: Scope) -> None:
            self.scope = scope

        async def __call__(self, receive: Receive, send: Send) -> None:
            body = self.scope["path"].encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})

    gateway = PingSIX(App)
    assert (await Client(gateway).get("/two")).body == b"/two"
    await gateway.shutdown()
