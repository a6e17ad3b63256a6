"""``_meta``: filter, error_response, fail, priority, disable; for hooks and for ASGI middleware."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.adapters import from_middleware
from pingsix_asgi.context import Context
from pingsix_asgi.errors import DownstreamError
from pingsix_asgi.http.response import Response, error_page, json_reply
from pingsix_asgi.plugin.base import Plugin, PluginConf, Reply
from pingsix_asgi.testing import EchoApp
from pingsix_asgi.types import JSON, ASGIApp, Receive, Scope, Send
from support.gateway import Gateway


class Probe(Plugin):
    """Notes every hook it runs; may refuse or fail in access."""

    name = "probe"
    priority = 10
    seen: list[str]

    class Conf(PluginConf):
        reply: str = ""
        fails: str = ""

    def __init__(self, conf: Conf) -> None:
        self.conf = conf

    def rewrite(self, ctx: Context) -> Reply:
        self.seen.append("rewrite")
        return None

    async def access(self, ctx: Context) -> Reply:
        self.seen.append("access")
        match self.conf.fails:
            case "bug":
                raise RuntimeError("a bug")
            case "refusal":
                raise DownstreamError("too large", status=413)
        match self.conf.reply:
            case "json":
                return json_reply(403, {"message": "no"}, [(b"x-why", b"rule")])
            case "page":
                return error_page(401)
            case "fine":
                return Response(200, b"fine")
        return None

    def header_filter(self, ctx: Context) -> None:
        self.seen.append("header_filter")
        ctx.response.headers.set(b"x-probe", b"1")

    def body_filter(self, ctx: Context, chunk: bytes, last: bool) -> bytes:
        self.seen.append("body_filter")
        return chunk

    def log(self, ctx: Context) -> None:
        self.seen.append("log")


@pytest.fixture
def seen() -> list[str]:
    Probe.seen = []
    return Probe.seen


async def gateway_with(meta: JSON, **conf: Any) -> Gateway:
    gateway = Gateway([Probe], EchoApp())
    plugins = {"probe": {**conf, "_meta": meta}}
    assert await gateway.publish(routes={"1": {"uri": "/*", "plugins": plugins}}) == []
    return gateway


async def test_a_filter_that_holds_changes_nothing(seen: list[str]) -> None:
    gateway = await gateway_with({"filter": [["arg_x", "==", "1"]]})
    answer = await gateway.get("/?x=1")
    assert answer.header("x-probe") == "1"
    assert set(seen) == {"rewrite", "access", "header_filter", "body_filter", "log"}


async def test_a_filter_that_does_not_hold_skips_every_hook(seen: list[str]) -> None:
    gateway = await gateway_with({"filter": [["arg_x", "==", "1"]]}, fails="bug")
    answer = await gateway.get("/?x=2")
    assert (answer.status, answer.header("x-probe"), seen) == (200, None, [])


class Changing(Plugin):
    """Runs before the probe's second phase and changes what its filter looks at."""

    name = "changing"
    priority = 5

    def rewrite(self, ctx: Context) -> Reply:
        ctx.request.query = b"x=2"
        return None


async def test_the_filter_is_evaluated_once_at_the_first_phase(seen: list[str]) -> None:
    gateway = Gateway([Probe, Changing], EchoApp())
    plugins = {"probe": {"_meta": {"filter": [["arg_x", "==", "1"]]}}, "changing": {}}
    await gateway.publish(routes={"1": {"uri": "/", "plugins": plugins}})
    await gateway.get("/?x=1")
    assert {"rewrite", "access", "log"} <= set(seen)


async def test_an_empty_filter_lets_the_plugin_run(seen: list[str]) -> None:
    gateway = await gateway_with({"filter": []})
    await gateway.get()
    assert "access" in seen


@pytest.mark.parametrize(
    ("reply", "replacement", "status", "body", "content_type"),
    [
        ("json", {"a": 1}, 403, '{"a":1}\n', "text/plain; charset=utf-8"),
        ("json", "plain", 403, "plain", "text/plain; charset=utf-8"),
        ("page", "plain", 401, "plain", "text/plain; charset=utf-8"),
        ("fine", "plain", 200, "fine", None),
    ],
)
async def test_error_response(
    seen: list[str],
    reply: str,
    replacement: JSON,
    status: int,
    body: str,
    content_type: str | None,
) -> None:
    gateway = await gateway_with({"error_response": replacement}, reply=reply)
    answer = await gateway.get()
    assert (answer.status, answer.text) == (status, body)
    assert answer.all("content-type") == ([content_type] if content_type else [])
    assert answer.header("x-why") == ("rule" if reply == "json" else None)


async def test_a_failing_hook_answers_500(
    seen: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    gateway = await gateway_with({}, fails="bug")
    assert (await gateway.get()).status == 500
    assert "plugin probe failed in access" in caplog.text


async def test_fail_open_passes_over_a_hook_that_raises(
    seen: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    gateway = await gateway_with({"fail": "open"}, fails="bug")
    assert (await gateway.get()).status == 200
    assert "was passed over" in caplog.text


async def test_fail_open_does_not_pass_over_a_refusal(seen: list[str]) -> None:
    gateway = await gateway_with({"fail": "open"}, fails="refusal")
    assert (await gateway.get()).status == 413


@pytest.mark.parametrize(
    ("meta", "path", "text"),
    [
        ({"pre_function": "return 1"}, "pre_function", "not supported: Lua code"),
        ({"filter": [["a", "nope", 1]]}, "filter", "failed to validate the 'vars' expression"),
        ({"filter": "x"}, "filter", "wrong type: expected array, got string"),
        ({"error_response": 5}, "error_response", "value should match only one schema"),
        ({"priority": "1"}, "priority", "wrong type: expected integer"),
        ({"fail": "maybe"}, "fail", "matches none of the enum values"),
        ({"x": 1}, "x", "additional properties forbidden, found x"),
        (5, "", "wrong type: expected object, got number"),
    ],
)
async def test_bad_meta_is_refused(meta: JSON, path: str, text: str) -> None:
    gateway = Gateway([Probe])
    routes = {"1": {"uri": "/", "plugins": {"probe": {"_meta": meta}}}}
    (error,) = await gateway.publish(routes=routes)
    assert error.path == ".".join(part for part in ("plugins.probe._meta", path) if part)
    assert text in error.message


class Marker:
    """An ASGI middleware that marks the request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*scope["headers"], (b"x-marked", b"1")]
        await self.app({**scope, "headers": headers}, receive, send)


async def test_a_filter_holds_for_an_asgi_middleware_too() -> None:
    app = EchoApp()
    gateway = Gateway([from_middleware("marker", Marker)], app)
    plugins = {"marker": {"_meta": {"filter": [["arg_x", "==", "1"]]}}}
    await gateway.publish(routes={"1": {"uri": "/", "plugins": plugins}})
    await gateway.get("/?x=1")
    assert app.header("x-marked") == "1"
    await gateway.get("/?x=2")
    assert app.header("x-marked") is None
