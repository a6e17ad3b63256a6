"""What must hold between gateway and wrapped app when either of them, or a client, is unusual."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    BaseUser,
    SimpleUser,
)
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from pingsix_asgi import PingSIX
from pingsix_asgi.adapters import from_middleware
from pingsix_asgi.errors import DownstreamError
from pingsix_asgi.types import ASGIApp, Message, Receive, Scope, Send
from support.raw_upstream import OK, answering, raw_upstream
from support.servers import serving
from support.wrapped import django_app

DJANGO: dict[str, Any] = {"lifespan": "off", "reset_contextvars": True}


def route(plugins: Any, uri: str = "/*", **fields: Any) -> dict[str, Any]:
    return {"routes": [{"id": "1", "uri": uri, "plugins": plugins, **fields}]}


async def fetch(port: int, path: str, *lines: str, body: bytes = b"", method: str = "GET") -> bytes:
    """Send one request byte for byte and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = ("host: a.test", "connection: close", *lines)
    head = "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", *fields, ""))
    writer.write(head.encode() + body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def admin(request: Request) -> PlainTextResponse:
    return PlainTextResponse("for admins")


@pytest.mark.parametrize("mounted", [True, False])
async def test_no_way_around_a_route_leads_through_the_root_path(mounted: bool) -> None:
    guarded = route({"key-auth": {"key": "k"}}, "/api/admin")
    guarded["routes"].append({"id": "2", "uri": "/*", "plugins": {"request-id": {}}})
    app: Any = PingSIX(Starlette(routes=[Route("/admin", admin)]), config=guarded)
    prefix = "/api" if mounted else ""
    if mounted:
        app = Starlette(routes=[Mount("/api", app=app)])
    async with serving(app, lifespan="off", root_path="" if mounted else "/api") as served:
        for path, status in (
            ("/admin", b"401"),
            ("/../admin", b"400"),
            ("/%2e%2e/admin", b"400"),
            ("/x/../../admin", b"400"),
            ("/x/../admin", b"401"),
        ):
            answer = await fetch(served.port, prefix + path)
            assert answer.split()[1] == status, path


@pytest.mark.parametrize(
    "plugins",
    [
        {"cache": {"ttl": 60}},
        {
            "proxy-cache": {
                "cache_zone": "memory_cache",
                "cache_strategy": "memory",
                "cache_control": True,
            }
        },
    ],
    ids=["cache", "proxy-cache"],
)
async def test_what_django_calls_private_is_never_cached(plugins: Any) -> None:
    async with serving(PingSIX(django_app(), config=route(plugins)), **DJANGO) as served:
        answers = [await fetch(served.port, "/private") for _ in "ab"]
    visits = [re.findall(rb"visit [0-9]+", answer) for answer in answers]
    assert len(visits[0]) == len(visits[1]) == 1
    assert visits[0] != visits[1]


async def test_bodies_of_django_are_framed_anew_when_they_change() -> None:
    app = PingSIX(django_app(), config=route({"response-rewrite": {"body": "short"}}))
    async with serving(app, **DJANGO) as served:
        answer = await fetch(served.port, "/page")
    assert b"content-length" not in answer.lower()
    assert answer.endswith(b"5\r\nshort\r\n0\r\n\r\n")


async def test_what_django_says_is_compressed() -> None:
    async with serving(PingSIX(django_app(), config=route({"gzip": {}})), **DJANGO) as served:
        answer = (await fetch(served.port, "/page", "accept-encoding: gzip")).lower()
    assert b"content-encoding: gzip\r\n" in answer
    assert b"content-length" not in answer


class Titled:
    """An ASGI middleware that writes names as HTTP/1.1 servers of old do."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def titled(message: Message) -> None:
            if message["type"] == "http.response.start":
                lines = [(name.title(), value) for name, value in message["headers"]]
                message = {**message, "headers": lines}
            await send(message)

        await self.app(scope, receive, titled)


async def test_names_that_a_middleware_wrote_are_found_by_plugins() -> None:
    plugins = {"titled": {}, "response-rewrite": {"body": "short"}}
    titled = from_middleware("titled", Titled)
    answers = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nx-a: 1\r\n\r\n" + b"x" * 100)
    async with raw_upstream(answers) as node:
        config = route(plugins, upstream={"nodes": {f"127.0.0.1:{node.port}": 1}})
        async with serving(PingSIX(config=config, plugins=[titled])) as served:
            answer = await fetch(served.port, "/")
    assert b"x-a: 1\r\n" in answer
    assert b"content-length" not in answer.lower()
    assert answer.endswith(b"5\r\nshort\r\n0\r\n\r\n")


async def test_the_app_that_stands_in_for_a_node_is_no_node() -> None:
    plugins = {
        "response-rewrite": {"body": "short", "headers": {"set": {"X-A": "$upstream_http_x_b"}}}
    }
    upstream = {"nodes": {"127.0.0.1:1": 1, "@app:1": 1}, "type": "roundrobin"}
    config = route(plugins, upstream=upstream)
    async with serving(PingSIX(Titled(shop), config=config), lifespan="off") as served:
        for _ in "ab":
            answer = await fetch(served.port, "/")
            assert answer.endswith(b"5\r\nshort\r\n0\r\n\r\n")
            assert b"content-length" not in answer.lower()
            assert b"x-b: 1" in answer
            assert b"x-a: 1" not in answer


async def shop(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"10"), (b"x-b", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"0123456789"})


class Visitor(AuthenticationBackend):
    """Knows everybody as Bob."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser]:
        return AuthCredentials(["reader"]), SimpleUser("bob")


class Proxied:
    """An ASGI middleware that says where a request came from, and writes all headers anew."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(bytes([*name]), bytes([*value])) for name, value in scope["headers"]]
        seen = {"client": ("192.0.2.9", 9), "scheme": "https", "headers": headers, "tenant": "t1"}
        await self.app({**scope, **seen}, receive, send)


async def whoami(request: Request) -> JSONResponse:
    scope = request.scope
    client = [request.url.scheme, *(request.client or ())]
    return JSONResponse([request.user.username, client, scope.get("tenant")])


async def test_the_app_sees_what_middleware_plugins_put_into_their_scope() -> None:
    plugins = [
        from_middleware("proxied", Proxied, 2),
        from_middleware("auth", AuthenticationMiddleware, 1, backend=Visitor()),
    ]
    app = Starlette(routes=[Route("/", whoami)])
    for more in ({}, {"response-rewrite": {"filters": [{"regex": "x", "replace": "y"}]}}):
        config = route({"proxied": {}, "auth": {}, **more})
        async with serving(PingSIX(app, config=config, plugins=plugins), lifespan="off") as served:
            answer = await fetch(served.port, "/")
        assert b'["bob",["https","192.0.2.9",9],"t1"]' in answer


async def test_headers_that_a_middleware_wrote_anew_are_still_the_clients() -> None:
    plugins = [from_middleware("proxied", Proxied, 2)]
    async with raw_upstream(answering(OK)) as node:
        config = route({"proxied": {}}, upstream={"nodes": {f"127.0.0.1:{node.port}": 1}})
        async with serving(PingSIX(config=config, plugins=plugins)) as served:
            said = ("x-forwarded-host: evil.test", "x-hop: 1", "connection: x-hop")
            await fetch(served.port, "/", *said)
    assert b"x-forwarded-host: a.test\r\n" in node.heads[0]
    assert b"x-forwarded-for: 192.0.2.9\r\n" in node.heads[0]
    assert b"x-hop" not in node.heads[0]
    assert b"evil.test" not in node.heads[0]


async def reads(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body; what goes wrong is answered with 500 and let through, as Starlette does."""
    try:
        while (await receive()).get("more_body"):
            pass
    except DownstreamError:
        if scope["path"] == "/answers":
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"oops"})
        raise


async def fails_late(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise DownstreamError("of a gateway inside")


async def statuses(app: ASGIApp, plugins: Any, path: str = "/") -> list[int]:
    """Return the status of every response that was begun for one request."""
    gateway = PingSIX(app, config=route(plugins))
    begun = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 20, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            begun.append(message["status"])

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"host", b"a.test")]}
    await gateway.startup()
    try:
        await gateway({**scope, "http_version": "2"}, receive, send)
    except DownstreamError:
        begun.append(0)
    finally:
        await gateway.shutdown()
    return begun


async def test_an_error_let_through_by_the_app_is_answered_once() -> None:
    limited = {"client-control": {"max_body_size": 10}}
    assert await statuses(reads, limited) == [413]
    assert await statuses(reads, limited, "/answers") == [500, 0]
    for plugins in ({}, {"request-id": {}}):
        assert await statuses(fails_late, {"mocking": {"_meta": {"disable": True}}, **plugins}) == [
            200,
            0,
        ]
