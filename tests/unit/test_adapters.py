"""Plugins as ASGI middleware and ASGI middleware as plugins, in real frameworks."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from pingsix_asgi.adapters import as_middleware, from_middleware
from pingsix_asgi.context import Context
from pingsix_asgi.errors import SchemaError
from pingsix_asgi.http.response import Response
from pingsix_asgi.plugin.base import Plugin, PluginConf, Reply
from pingsix_asgi.plugin.registry import Registry
from pingsix_asgi.testing import Client, EchoApp, Recorder, alone, together


class Tag(Plugin):
    """Adds a header on both ways; refuses one path."""

    name = "tag"
    priority = 10

    class Conf(PluginConf):
        value: str = "default"

    def __init__(self, conf: Conf) -> None:
        self.value = conf.value.encode()

    def access(self, ctx: Context) -> Reply:
        ctx.request.headers.append(b"x-tag", self.value)
        return Response(403, b"no") if ctx.request.path == "/refused" else None

    def header_filter(self, ctx: Context) -> None:
        ctx.response.headers.append(b"x-tag", self.value)


def test_plugins_that_live_by_a_gateway_are_refused_alone() -> None:
    registry = Registry()
    refused = {name for name in registry.names() if registry.find(name).needs_gateway}
    assert refused == {
        *("consumer-restriction", "hmac-auth", "prometheus", "public-api", "traffic-split"),
    }
    for name in refused:
        plugin: Any = registry.find(name)
        for make in (plugin, as_middleware(plugin)):
            with pytest.raises(
                SchemaError, match=rf"plugins/{name}: cannot be used alone, .*PingSIX"
            ):
                make(EchoApp())


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.headers.get("x-tag", "none"))


async def numbers(request: Request) -> StreamingResponse:
    async def chunks() -> Any:
        for number in range(3):
            yield f"{number}\n"

    return StreamingResponse(chunks(), media_type="text/plain")


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.headers.get("x-tag", "none"))
    await websocket.close()


def starlette() -> Starlette:
    return Starlette(
        routes=[Route("/", page), Route("/numbers", numbers), WebSocketRoute("/chat", chat)]
    )


@pytest.mark.parametrize("middleware", [Tag, as_middleware(Tag)], ids=["class", "as_middleware"])
async def test_a_plugin_is_a_starlette_middleware(middleware: Any) -> None:
    app = starlette()
    app.add_middleware(middleware, value="one")
    client = Client(app)
    answer = await client.get("/")
    assert (answer.status, answer.text, answer.header("x-tag")) == (200, "one", "one")
    assert (await client.get("/numbers")).text == "0\n1\n2\n"
    refused = await client.get("/refused")
    assert (refused.status, refused.text, refused.header("x-tag")) == (403, "no", "one")


async def test_a_plugin_is_a_fastapi_middleware_and_two_layers_nest() -> None:
    app = FastAPI()

    @app.get("/")
    async def read(request: Request) -> dict[str, list[str]]:
        return {"tags": request.headers.getlist("x-tag")}

    app.add_middleware(Tag, value="inner")  # type: ignore[arg-type]  # untyped use is what we show
    app.add_middleware(Tag, value="outer")  # type: ignore[arg-type]
    answer = await Client(app).get("/")
    assert answer.json() == {"tags": ["outer", "inner"]}
    assert answer.all("x-tag") == ["inner", "outer"]


async def test_a_plugin_sees_websocket_handshakes_and_leaves_lifespan_alone() -> None:
    app = starlette()
    app.add_middleware(Tag, value="ws")  # type: ignore[arg-type]
    client = Client(app)
    accept, text, close = await client.websocket("/chat")
    assert (b"x-tag", b"ws") in accept["headers"]
    assert text["text"] == "ws"
    assert close["type"] == "websocket.close"
    assert await client.lifespan() == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    refused = await client.websocket("/refused")
    assert refused[0]["type"] == "websocket.http.response.start"
    assert refused[0]["status"] == 403


def test_bad_options_name_plugin_and_field() -> None:
    with pytest.raises(SchemaError) as caught:
        Tag(EchoApp(), value=5)
    assert str(caught.value) == (
        'plugins/tag: value: property "value" validation failed: '
        "wrong type: expected string, got number"
    )


def test_a_conf_still_makes_an_instance() -> None:
    assert isinstance(Tag(Tag.Conf(value="x")), Tag)


async def test_a_path_that_climbs_above_the_root_is_refused() -> None:
    app = EchoApp()
    answer = await Client(alone(Tag, app)).get("/../etc")
    assert answer.status == 400
    assert app.scopes == []


async def test_kept_objects_are_closed_after_the_apps_lifespan() -> None:
    events: list[str] = []

    class Kept:
        async def aclose(self) -> None:
            events.append("closed")

    class Keeper(Plugin):
        name = "keeper"
        priority = 1

        def setup(self, host: Any) -> None:
            assert host.keep("x", Kept) is host.keep("x", Kept)

    app = Keeper(EchoApp())
    await Client(app).lifespan()  # type: ignore[arg-type]
    assert events == ["closed"]


async def test_starlette_gzip_as_a_plugin_compresses_what_the_app_sent() -> None:
    gzip = from_middleware("starlette-gzip", GZipMiddleware, 50, minimum_size=10)
    app = together({gzip: {}, Tag: {}}, EchoApp(b"x" * 1000))
    answer = await Client(app).get("/", {"accept-encoding": "gzip"})
    assert answer.header("content-encoding") == "gzip"
    assert answer.header("x-tag") == "default"
    assert len(answer.body) < 100


async def test_an_early_answer_of_a_middleware_plugin_passes_the_response_phases() -> None:
    trusted = from_middleware(
        "trusted-host", TrustedHostMiddleware, 50, allowed_hosts=["good.test"]
    )
    seen = Recorder.make()
    app = EchoApp()
    client = Client(together({trusted: {}, seen: {}, Tag: {}}, app))
    refused = await client.get("/", {"host": "bad.test"})
    assert (refused.status, refused.header("x-tag")) == (400, "default")
    assert seen.seen == [
        *("rewrite", "access", "before_proxy", "header_filter", "body_filter", "log 400")
    ]
    assert app.scopes == []
    assert (await client.get("/", {"host": "good.test"})).status == 200


async def test_correlation_id_as_a_plugin() -> None:
    correlation = from_middleware("correlation-id", CorrelationIdMiddleware, 50)
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(correlation_id.get())
        await EchoApp()(scope, receive, send)

    answer = await Client(together({correlation: {}}, app)).get("/")
    assert answer.header("x-request-id") == seen[0]
    assert seen[0]


async def test_a_base_http_middleware_as_a_plugin_edits_the_request() -> None:
    class Stamp(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            request.scope["path"] = "/stamped"
            return await call_next(request)

    app = EchoApp()
    answer = await Client(together({from_middleware("stamp", Stamp): {}}, app)).get("/")
    assert answer.text == "hello"
    assert app.scopes[0]["path"] == "/stamped"


async def test_middleware_plugins_nest_by_priority() -> None:
    def tagging(app: Any, tag: str) -> Any:
        async def tagged(scope: Any, receive: Any, send: Any) -> None:
            headers = [*scope["headers"], (b"x-order", tag.encode())]
            await app({**scope, "headers": headers}, receive, send)

        return tagged

    app = EchoApp()
    low = from_middleware("low", tagging, 1, tag="low")
    high = from_middleware("high", tagging, 2, tag="high")
    await Client(together({low: {}, high: {}}, app)).get("/")
    assert app.header("x-order") == "high, low"
