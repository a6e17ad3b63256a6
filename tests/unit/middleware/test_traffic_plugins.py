"""api-breaker, workflow, forward-auth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware.api_breaker import ApiBreaker
from pingsix_asgi.middleware.forward_auth import ForwardAuth
from pingsix_asgi.middleware.limit_count import LimitCount
from pingsix_asgi.middleware.workflow import Workflow
from pingsix_asgi.plugin.base import Plugin
from pingsix_asgi.shared.place import DIRECTORY_VARIABLE
from pingsix_asgi.testing import Client, EchoApp, FakeClock, alone, together
from pingsix_asgi.types import Message, Receive, Scope, Send
from support.servers import serving


class FromUpstream(Plugin):
    """Marks every answer as one of an upstream with the status of ``x-status``."""

    name = "from-upstream"
    priority = 2

    def rewrite(self, ctx: Any) -> None:
        class Exchange:
            node = "192.0.2.1:80"
            status = int(ctx.request.headers.get(b"x-status"))

        ctx.upstream = Exchange


async def test_the_breaker_opens_for_longer_each_time_and_closes_after_successes() -> None:
    clock = FakeClock()
    app = together(
        {
            FromUpstream: {},
            ApiBreaker: {
                "break_response_code": 599,
                "break_response_body": '{"at": "$uri"}',
                "break_response_headers": [{"key": "X-Where", "value": "at $uri"}],
                "unhealthy": {"http_statuses": [500, 503], "failures": 2},
                "healthy": {"successes": 2},
                "max_breaker_sec": 3,
            },
        },
        clock=clock,
    )
    client = Client(app)

    async def ask(status: int, path: str = "/x") -> int:
        return (await client.get(path, {"x-status": str(status)})).status

    assert [await ask(500), await ask(503)] == [200, 200]
    opened = await client.get("/x", {"x-status": "200"})
    assert (opened.status, opened.header("x-where")) == (599, "at /x")
    assert opened.text == '{"at": "$uri"}'
    assert await ask(200, "/other") == 200
    clock.advance(2)
    assert [await ask(500), await ask(500), await ask(200)] == [200, 200, 599]
    clock.advance(2.9)
    assert await ask(200) == 599, "four seconds, cut to max_breaker_sec"
    clock.advance(0.1)
    assert [await ask(200), await ask(200), await ask(500), await ask(200)] == [200] * 4


async def test_a_breaker_by_ratio_has_one_circuit_for_all_paths() -> None:
    clock = FakeClock()
    conf = {
        "break_response_code": 502,
        "policy": "unhealthy-ratio",
        "max_breaker_sec": 10,
        "unhealthy": {"min_request_threshold": 2, "half_open_max_calls": 1},
    }
    plugins: Any = {FromUpstream: {}, ApiBreaker: conf}
    client = Client(together(plugins, clock=clock))

    async def ask(status: int, path: str = "/x") -> int:
        return (await client.get(path, {"x-status": str(status)})).status

    assert [await ask(200), await ask(0), await ask(500, "/y"), await ask(200)] == [200] * 3 + [502]
    clock.advance(10)
    assert [await ask(200), await ask(500)] == [200, 200]


async def test_workers_of_one_machine_share_their_circuits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    conf = {"break_response_code": 599, "unhealthy": {"failures": 2}, "healthy": {"successes": 1}}
    plugins: Any = {FromUpstream: {}, ApiBreaker: conf}
    clock = FakeClock()
    one, two = (Client(together(plugins, clock=clock)) for _ in range(2))

    async def ask(worker: Client, status: int) -> int:
        return (await worker.get("/x", {"x-status": str(status)})).status

    assert [await ask(one, 500), await ask(two, 500)] == [200, 200]
    assert [await ask(one, 404), await ask(two, 404)] == [599, 599]
    clock.advance(2)
    assert [await ask(two, 200), await ask(one, 500), await ask(one, 200)] == [200, 200, 200]
    for worker in (one, two):
        await worker.lifespan()


async def test_of_two_content_types_of_a_breaker_the_last_one_is_sent() -> None:
    headers = [
        {"key": "Content-Type", "value": "text/plain"},
        {"key": "X-A", "value": "1"},
        {"key": "X-A", "value": "2"},
        {"key": "content-type", "value": "text/html"},
    ]
    conf = {
        "break_response_code": 599,
        "break_response_body": "x",
        "break_response_headers": headers,
        "unhealthy": {"failures": 1},
    }
    plugins: Any = {FromUpstream: {}, ApiBreaker: conf}
    client = Client(together(plugins))
    await client.get("/x", {"x-status": "500"})
    answer = await client.get("/x", {"x-status": "500"})
    sent = [line for line in answer.headers if line[0] in (b"content-type", b"x-a")]
    assert sorted(sent) == [(b"content-type", b"text/html"), (b"x-a", b"1"), (b"x-a", b"2")]


async def test_rules_of_a_workflow_count_apart_and_keep_the_plugin_from_acting_again() -> None:
    limit = ["limit-count", {"count": 1, "time_window": 60}]
    rules = [{"case": [["uri", "==", path]], "actions": [limit]} for path in ("/a", "/b")]
    plugins: Any = {Workflow: {"rules": rules}, LimitCount: {"count": 1, "time_window": 60}}
    client = Client(together(plugins))
    asked = ["/a", "/b", "/c", "/a", "/b", "/c"]
    statuses = [(await client.get(path)).status for path in asked]
    assert statuses == [200, 200, 200, 503, 503, 503]


async def test_workflow_takes_the_first_rule_that_applies() -> None:
    rules = [
        {"case": [["uri", "==", "/no"]], "actions": [["return", {"code": 403}]]},
        {"actions": [["limit-count", {"count": 1, "time_window": 60, "rejected_code": 429}]]},
    ]
    client = Client(alone(Workflow, rules=rules))
    answer = await client.get("/no")
    assert (answer.status, answer.json()) == (403, {"error_msg": "rejected by workflow"})
    first = await client.get("/")
    assert (first.status, first.header("x-ratelimit-remaining")) == (200, "0")
    assert (await client.get("/")).status == 429
    assert (await client.get("/no")).status == 403


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"actions": [["dance", {}]]}, "unsupported action: dance"),
        ({"actions": [["return", {"code": 1}]]}, "at least 100"),
        ({"actions": [["return", {}]]}, '"code" is required'),
        ({"actions": [["return"]]}, "expect array to have at least 2 items"),
        ({"actions": [[True, {}]]}, "failed to validate item 1: wrong type: expected string"),
        ({"actions": [["return", 403]]}, "failed to validate item 2: wrong type: expected object"),
        ({"case": [["uri", "=~", "x"]], "actions": [["return", {"code": 403}]]}, "operator"),
        ({"actions": []}, "actions"),
    ],
)
def test_bad_workflows_are_refused(rule: Any, text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        alone(Workflow, rules=[rule])


class AuthService:
    """Lets in who sends the right token; says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        message: Message = await receive()
        self.bodies.append(message["body"])
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        self.asked.append(headers)
        ok = headers.get("authorization") == "token"
        own = [(b"x-user", b"jack")] if ok else [(b"location", b"/login"), (b"x-secret", b"s")]
        start = {"type": "http.response.start", "status": 200 if ok else 302, "headers": own}
        await send(start)
        await send({"type": "http.response.body", "body": b"" if ok else b"go away"})


async def test_forward_auth_asks_a_real_service() -> None:
    service, app = AuthService(), EchoApp()
    async with serving(service, lifespan="off") as served:
        wrapped = alone(
            ForwardAuth,
            app,
            uri=f"{served.url}/auth",
            request_headers=["Authorization"],
            extra_headers={"X-Path": "$uri"},
            upstream_headers=["x-user", "x-other"],
            client_headers=["Location"],
        )
        client = Client(wrapped, host="shop")
        spoofed = {"authorization": "token", "x-user": "root", "x-other": "1", "cookie": "c"}
        assert (await client.get("/a%20b?c=d", spoofed)).status == 200
        assert (app.header("x-user"), app.header("x-other")) == ("jack", None)
        asked = service.asked[0]
        assert asked["x-forwarded-uri"] == "/a%20b?c=d"
        assert asked["x-forwarded-host"] == "shop"
        assert asked["x-forwarded-method"] == "GET"
        assert asked["x-forwarded-for"] == "127.0.0.1"
        assert asked["x-path"] == "/a b"
        assert "cookie" not in asked
        refused = await client.get("/")
        assert (refused.status, refused.text) == (302, "go away")
        assert refused.header("location") == "/login"
        assert refused.header("x-secret") is None
        await client.lifespan()


async def test_forward_auth_posts_the_body_within_its_limit() -> None:
    service, app = AuthService(), EchoApp()
    async with serving(service, lifespan="off") as served:
        wrapped = alone(
            ForwardAuth,
            app,
            uri=f"{served.url}/auth",
            request_method="POST",
            request_headers=["authorization"],
            max_req_body_size=4,
        )
        client = Client(wrapped)
        headers = {"authorization": "token"}
        assert (await client.request("PUT", "/", headers=headers, body=b"body")).status == 200
        assert (service.bodies, app.bodies) == ([b"body"], [b"body"])
        assert (await client.request("PUT", "/", headers=headers, body=b"large")).status == 413
        await client.lifespan()


@pytest.mark.parametrize(
    ("options", "status"),
    [({}, 403), ({"status_on_error": 503}, 503), ({"allow_degradation": True}, 200)],
)
async def test_forward_auth_without_its_service(options: dict[str, Any], status: int) -> None:
    client = Client(alone(ForwardAuth, uri="http://127.0.0.1:1/", **options))
    assert (await client.get("/")).status == status
    await client.lifespan()
