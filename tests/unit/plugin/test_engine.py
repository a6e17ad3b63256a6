"""The engine with recording plugins: order, early exit, response phases, errors."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.context import Context, Request
from pingsix_asgi.engine import serve
from pingsix_asgi.errors import UpstreamTimeout
from pingsix_asgi.http.response import Response
from pingsix_asgi.plugin.base import Plugin
from pingsix_asgi.plugin.plan import Plan, Step, compile_plan
from pingsix_asgi.types import Message

SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "path": "/x",
    "raw_path": b"/x",
    "query_string": b"",
    "headers": [],
    "scheme": "http",
    "client": ("127.0.0.1", 5),
}


class Recorder(Plugin):
    """Writes every hook it runs to a shared list; may answer in one request phase."""

    def __init__(self, name: str, seen: list[str], answers: str = "", kind: Any = "") -> None:
        self.label, self.seen, self.answers = name, seen, answers
        self.name = name  # type: ignore[misc]  # one class stands for many plugins here
        self.kind = kind  # type: ignore[misc]

    def _note(self, phase: str) -> Response | None:
        self.seen.append(f"{self.label}.{phase}")
        return Response(403, b"no") if phase == self.answers else None

    def rewrite(self, ctx: Context) -> Response | None:
        return self._note("rewrite")

    async def access(self, ctx: Context) -> Response | None:
        return self._note("access")

    def before_proxy(self, ctx: Context) -> Response | None:
        return self._note("before_proxy")

    def header_filter(self, ctx: Context) -> None:
        self._note("header")
        ctx.response.headers.append(b"x-seen", self.label.encode())

    def body_filter(self, ctx: Context, chunk: bytes, last: bool) -> bytes:
        self._note("body")
        return chunk + self.label.encode() if last else chunk

    def log(self, ctx: Context) -> None:
        self._note(f"log {ctx.status}")


class StubTarget:
    def __init__(self, seen: list[str], error: Exception | None = None) -> None:
        self.seen, self.error = seen, error

    def prepare(self, ctx: Context) -> None:
        self.seen.append("pick")

    async def __call__(self, ctx: Context, receive: Any, send: Any) -> None:
        self.seen.append("exchange")
        if self.error:
            raise self.error
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hi"})


class StubMatch:
    info: Any = None

    def __init__(self, plan: Plan, target: Any, merged: Plan | None = None) -> None:
        self.plan, self.target, self.merged = plan, target, merged

    def plan_for(self, consumer: Any) -> Plan:
        assert self.merged is not None
        return self.merged


def layer(*plugins: tuple[Recorder, int]) -> dict[str, Step]:
    return {plugin.name: Step(plugin, priority) for plugin, priority in plugins}


async def exchange(match: StubMatch) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> Any:
        raise AssertionError("nobody reads the body here")

    ctx = Context(SCOPE, receive, send, Request(SCOPE, "/x", b"/x", "h"))
    await serve(ctx, match)
    return sent


async def test_phases_run_in_apisix_order_global_layer_first() -> None:
    seen: list[str] = []
    g, a, b = (Recorder(name, seen) for name in "gab")
    plan = compile_plan(layer((g, 1)), layer((b, 10), (a, 20)))
    sent = await exchange(StubMatch(plan, StubTarget(seen)))
    assert seen == [
        *("g.rewrite", "a.rewrite", "b.rewrite", "g.access", "a.access", "b.access", "pick"),
        *("g.before_proxy", "a.before_proxy", "b.before_proxy", "exchange"),
        *("g.header", "a.header", "b.header", "g.body", "a.body", "b.body"),
        *("g.log 200", "a.log 200", "b.log 200"),
    ]
    assert [value for _, value in sent[0]["headers"]] == [b"g", b"a", b"b"]
    assert sent[1]["body"] == b"higab"


async def test_an_early_answer_still_passes_every_response_phase() -> None:
    seen: list[str] = []
    a, b, c = Recorder("a", seen), Recorder("b", seen, answers="access"), Recorder("c", seen)
    plan = compile_plan({}, layer((a, 3), (b, 2), (c, 1)))
    sent = await exchange(StubMatch(plan, StubTarget(seen)))
    assert sent[0]["status"] == 403
    assert "exchange" not in seen
    assert "c.access" not in seen
    assert seen[-9:] == [
        *("a.header", "b.header", "c.header", "a.body", "b.body", "c.body"),
        *("a.log 403", "b.log 403", "c.log 403"),
    ]


async def test_an_exit_in_global_rewrite_is_seen_by_global_plugins_only() -> None:
    seen: list[str] = []
    g, a = Recorder("g", seen, answers="rewrite"), Recorder("a", seen)
    plan = compile_plan(layer((g, 1)), layer((a, 1)))
    await exchange(StubMatch(plan, StubTarget(seen)))
    assert seen == ["g.rewrite", "g.header", "g.body", "g.log 403"]


async def test_a_consumer_swaps_in_the_merged_plan_and_only_new_plugins_rewrite_again() -> None:
    seen: list[str] = []

    class Auth(Recorder):
        def rewrite(self, ctx: Context) -> None:
            self._note("rewrite")
            ctx.consumer = object()  # type: ignore[assignment]

    auth, old, new = Auth("auth", seen, kind="auth"), Recorder("a", seen), Recorder("A2", seen)
    extra = Recorder("c", seen)
    route = layer((auth, 9), (old, 5))
    merged = compile_plan(
        {}, route, consumer_layer={"a": Step(new, 5), "c": Step(extra, 1), "auth": Step(auth, 9)}
    )
    await exchange(StubMatch(compile_plan({}, route), StubTarget(seen), merged))
    requests = seen[: seen.index("pick")]
    assert requests == [
        *("auth.rewrite", "a.rewrite", "c.rewrite"),
        *("auth.access", "A2.access", "c.access"),
    ]


async def test_prefer_route_drops_the_global_instance_of_the_same_plugin() -> None:
    seen: list[str] = []
    first, second = Recorder("g", seen), Recorder("r", seen)
    first.run_policy = "prefer_route"  # type: ignore[misc]
    plan = compile_plan({"same": Step(first, 1)}, {"same": Step(second, 1)})
    await exchange(StubMatch(plan, StubTarget(seen)))
    assert not [event for event in seen if event.startswith("g.")]


@pytest.mark.parametrize("phase", ["rewrite", "access", "before_proxy"])
async def test_a_raising_hook_is_a_500_that_passes_the_response_phases(phase: str) -> None:
    seen: list[str] = []

    class Broken(Recorder):
        def _note(self, now: str) -> Response | None:
            if now == phase:
                raise ValueError("boom")
            return super()._note(now)

    sent = await exchange(
        StubMatch(compile_plan({}, layer((Broken("x", seen), 1))), StubTarget(seen))
    )
    assert sent[0]["status"] == 500
    assert seen[-1] == "x.log 500"


async def test_a_raising_response_hook_does_not_stop_the_others() -> None:
    seen: list[str] = []

    class Broken(Recorder):
        def header_filter(self, ctx: Context) -> None:
            raise ValueError("boom")

        def body_filter(self, ctx: Context, chunk: bytes, last: bool) -> bytes:
            raise ValueError("boom")

    plan = compile_plan({}, layer((Broken("x", seen), 2), (Recorder("a", seen), 1)))
    sent = await exchange(StubMatch(plan, StubTarget(seen)))
    assert sent[0]["headers"] == [(b"x-seen", b"a")]
    assert sent[1]["body"] == b"hia"


async def test_an_upstream_error_before_the_response_is_answered_with_its_status() -> None:
    seen: list[str] = []
    plan = compile_plan({}, layer((Recorder("a", seen), 1)))
    sent = await exchange(StubMatch(plan, StubTarget(seen, UpstreamTimeout("read"))))
    assert sent[0]["status"] == 504
    assert seen[-1] == "a.log 504"


async def test_what_the_wrapped_app_raises_goes_on_to_the_server_and_is_logged_as_500() -> None:
    seen: list[str] = []
    plan = compile_plan({}, layer((Recorder("a", seen), 1)))
    with pytest.raises(KeyError):
        await exchange(StubMatch(plan, StubTarget(seen, KeyError("app"))))
    assert seen[-1] == "a.log 500"


@pytest.mark.parametrize("status", [103, 204, 304])
async def test_a_reply_whose_status_allows_no_body_has_none(status: int) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    ctx = Context(SCOPE, None, send, Request(SCOPE, "/x", b"/x", ""))  # type: ignore[arg-type]
    ctx.plan = Plan()
    await ctx.reply(Response(status, b"lost"))
    assert sent == [
        {"type": "http.response.start", "status": status, "headers": []},
        {"type": "http.response.body", "body": b""},
    ]


async def test_a_file_goes_with_a_status_that_allows_no_body() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    def empty(ctx: Context) -> None:
        ctx.response.status = 204

    ctx = Context(SCOPE, None, send, Request(SCOPE, "/x", b"/x", ""))  # type: ignore[arg-type]
    ctx.plan = Plan(header_filter=(empty,), observes_response=True)
    headers = [(b"content-length", b"9")]
    await ctx.send({"type": "http.response.start", "status": 200, "headers": headers})
    await ctx.send({"type": "http.response.pathsend", "path": "/etc/hosts"})
    assert sent == [
        {"type": "http.response.start", "status": 204, "headers": []},
        {"type": "http.response.body"},
    ]
