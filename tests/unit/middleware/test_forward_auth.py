"""forward-auth: decisions that are remembered, and those that are not."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware.forward_auth import ForwardAuth
from pingsix_asgi.testing import Client, EchoApp, FakeClock, together
from pingsix_asgi.types import Receive, Scope, Send
from support.servers import Served, serving


class AuthService:
    """Refuses the token "deny", names everybody else to the upstream, and counts."""

    def __init__(self, **headers: str) -> None:
        self.asked = 0
        self._headers = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        token = dict(scope["headers"]).get(b"authorization", b"")
        status = {b"deny": 403, b"broken": 503}.get(token, 200)
        headers = [*self._headers, (b"x-user", token), (b"x-reason", b"unknown")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"no" if status == 403 else b""})


def guarded(served: Served, app: EchoApp, clock: FakeClock | None = None, **options: Any) -> Client:
    cache = {"key_headers": ["Authorization"], "ttl": 10, **options.pop("cache", {})}
    conf = {
        "uri": f"{served.url}/auth",
        "request_headers": ["Authorization"],
        "upstream_headers": ["X-User"],
        "client_headers": ["X-Reason"],
        "cache": cache,
        **options,
    }
    return Client(together({ForwardAuth: conf}, app, clock=clock), host="shop")


async def test_a_decision_holds_for_the_same_caller_and_a_while() -> None:
    service, app, clock = AuthService(), EchoApp(), FakeClock()
    async with serving(service, lifespan="off") as served:
        client = guarded(served, app, clock)
        for _ in range(2):
            assert (await client.get("/", {"authorization": "ann", "x-user": "root"})).status == 200
            assert app.header("x-user") == "ann"
            refused = await client.get("/", {"authorization": "deny"})
            assert (refused.status, refused.text) == (403, "no")
            assert refused.header("x-reason") == "unknown"
        assert service.asked == 2
        await client.get("/", {"authorization": "ben"})
        assert (app.header("x-user"), service.asked) == ("ben", 3)
        clock.advance(10)
        await client.get("/", {"authorization": "ann"})
        assert service.asked == 4
        await client.lifespan()


@pytest.mark.parametrize(
    ("cache_control", "asked"),
    [
        ("no-store", 2),
        ("Private", 2),
        ("max-age=0", 2),
        ("max-age=3", 2),
        ("max-age=60", 1),
        ("max-age=60, s-maxage=3", 2),
        ("s-maxage=60, max-age=0", 1),
        ("public", 1),
    ],
)
async def test_the_service_may_limit_what_is_kept(cache_control: str, asked: int) -> None:
    service, clock = AuthService(cache_control=cache_control), FakeClock()
    async with serving(service, lifespan="off") as served:
        client = guarded(served, EchoApp(), clock)
        for _ in range(2):
            await client.get("/", {"authorization": "ann"})
            clock.advance(4)
        assert service.asked == asked
        await client.lifespan()


@pytest.mark.parametrize(
    ("options", "requests", "asked"),
    [
        ({}, [("GET", "/a", b""), ("PUT", "/b", b"x")], 1),
        ({"cache": {"include_uri": True}}, [("GET", "/?a=1", b""), ("GET", "/?a=2", b"")], 2),
        ({"cache": {"include_method": True}}, [("GET", "/", b""), ("PUT", "/", b"")], 2),
        ({"request_method": "POST"}, [("PUT", "/", b"a"), ("PUT", "/", b"a")], 1),
        ({"request_method": "POST"}, [("PUT", "/", b"a"), ("PUT", "/", b"b")], 2),
    ],
)
async def test_what_tells_requests_apart(
    options: dict[str, Any], requests: list[tuple[str, str, bytes]], asked: int
) -> None:
    service = AuthService()
    async with serving(service, lifespan="off") as served:
        client = guarded(served, EchoApp(), **options)
        for method, target, body in requests:
            headers = {"authorization": "ann"}
            await client.request(method, target, headers=headers, body=body)
        assert service.asked == asked
        await client.lifespan()


async def test_hosts_are_told_apart_and_failures_are_not_kept() -> None:
    service = AuthService()
    async with serving(service, lifespan="off") as served:
        client = guarded(served, EchoApp())
        for host in ("shop", "shop", "stall"):
            await client.get("/", {"authorization": "ann", "host": host})
        assert service.asked == 2
        for _ in range(2):
            assert (await client.get("/", {"authorization": "broken"})).status == 503
        assert service.asked == 4
        await client.lifespan()


def test_a_bad_header_is_named_as_apisix_does() -> None:
    with pytest.raises(
        SchemaError, match=r'to validate X-A \(matching "\^\[\^:\]\+\$"\): wrong type'
    ):
        together({ForwardAuth: {"uri": "http://a.test/", "extra_headers": {"X-A": 1}}})


async def test_the_service_sees_every_line_of_a_header() -> None:
    """It would decide on one of them, and the upstream gets them all."""
    service = EchoApp(b"")
    async with serving(service, lifespan="off") as served:
        options = {"request_headers": ["X-Token", "X-Own"], "extra_headers": {"X-Own": "ours"}}
        client = guarded(served, EchoApp(), cache={"key_headers": ["X-Token"]}, **options)
        for second in ("evil", "worse"):
            await client.get("/", [("x-token", "good"), ("x-token", second), ("x-own", "theirs")])
            seen = [pair for pair in service.scopes[-1]["headers"] if pair[0] == b"x-token"]
            assert seen == [(b"x-token", b"good"), (b"x-token", second.encode())]
            assert service.header("x-own") == "ours"
        await client.lifespan()


async def test_only_small_decisions_are_kept() -> None:
    for size, asked in ((10, 1), (20_000, 2)):
        service = AuthService(x_reason_more="x" * size)
        async with serving(service, lifespan="off") as served:
            client = guarded(served, EchoApp(), client_headers=["X-Reason-More"])
            for _ in range(2):
                answer = await client.get("/", {"authorization": "deny"})
                assert answer.header("x-reason-more") == "x" * size
            assert service.asked == asked
            await client.lifespan()
