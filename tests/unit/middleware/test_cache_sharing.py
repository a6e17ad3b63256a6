"""What requests of the caching plugins have to do with each other, and with other plugins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from pingsix_asgi.cache import flights
from pingsix_asgi.context import Context
from pingsix_asgi.errors import ConnectError
from pingsix_asgi.http.response import Response
from pingsix_asgi.middleware.proxy_cache import ProxyCache
from pingsix_asgi.middleware.request_id import RequestID
from pingsix_asgi.plugin.base import Plugin, Reply
from pingsix_asgi.types import Message, Receive, Scope, Send
from support.cache_bench import MEMORY, Bench, Origin
from support.contexts import no_receive


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def gated(**headers: str) -> Origin:
    origin = Origin(**headers)
    origin.gate = asyncio.Event()
    return origin


async def together_with_open_gate(bench: Bench, *requests: Awaitable[object]) -> list[object]:
    """Run requests at once, opening the gate when all of them are under way."""
    tasks = [asyncio.ensure_future(request) for request in requests]
    await settle()
    assert bench.origin.gate is not None
    bench.origin.gate.set()
    return await asyncio.gather(*tasks)


async def test_one_fetch_serves_many_waiters() -> None:
    bench = Bench(gated(), **MEMORY)
    answers = await together_with_open_gate(bench, *(bench.seen() for _ in range(20)))
    assert bench.origin.calls == 1
    assert sorted({str(answer) for answer in answers}) == [
        "('HIT', 'answer 1')",
        "('MISS', 'answer 1')",
    ]


async def test_what_is_not_kept_holds_nobody_up() -> None:
    """Only the first one is waited for, and only until it is known not to be kept."""
    origin = gated(cache_control="private")
    bench = Bench(origin, **MEMORY)
    tasks = [asyncio.create_task(bench.seen()) for _ in range(5)]
    await settle()
    assert origin.calls == 1
    assert origin.gate is not None
    origin.gate.set()
    origin.gate = asyncio.Event()
    await settle()
    assert origin.calls == 5
    origin.gate.set()
    await asyncio.gather(*tasks)


async def test_nobody_waits_for_the_body_of_what_is_not_kept() -> None:
    class Slow(Origin):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            self.calls += 1
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await asyncio.Event().wait()

    bench = Bench(Slow(), **MEMORY)
    tasks = [asyncio.create_task(bench.get()) for _ in range(3)]
    await settle()
    assert bench.origin.calls == 3
    for task in tasks:
        task.cancel()


async def test_variants_are_fetched_side_by_side() -> None:
    origin = gated(vary="x")
    bench = Bench(origin, **MEMORY)
    tasks = [asyncio.create_task(bench.seen(x=str(number))) for number in range(5)]
    await settle()
    assert origin.gate is not None
    origin.gate.set()
    origin.gate = asyncio.Event()
    await settle()
    assert origin.calls == 5
    origin.gate.set()
    await asyncio.gather(*tasks)
    assert await bench.seen(x="4") == ("HIT", "answer 5")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_nobody_waits_for_what_brings_no_whole_response(method: str) -> None:
    origin = gated()
    bench = Bench(origin, **MEMORY)
    first = asyncio.create_task(bench.get(method=method, range="bytes=0-1"))
    await settle()
    second = asyncio.create_task(bench.get())
    await settle()
    assert origin.calls == 2
    assert origin.gate is not None
    origin.gate.set()
    await asyncio.gather(first, second)


async def test_a_cancelled_fetch_lets_the_others_go_on() -> None:
    origin = gated()
    bench = Bench(origin, **MEMORY)
    first = asyncio.create_task(bench.get())
    await settle()
    second = asyncio.create_task(bench.seen())
    await settle()
    first.cancel()
    await settle()
    assert origin.calls == 2
    assert origin.gate is not None
    origin.gate.set()
    assert await second == ("MISS", "answer 2")
    assert first.cancelled()
    assert await bench.seen() in [("HIT", "answer 2"), ("MISS", "answer 3")]


async def test_a_cancelled_waiter_leaves_the_fetch_alone() -> None:
    origin = gated()
    bench = Bench(origin, **MEMORY)
    first = asyncio.create_task(bench.seen())
    await settle()
    second = asyncio.create_task(bench.seen())
    await settle()
    second.cancel()
    await settle()
    assert origin.gate is not None
    origin.gate.set()
    assert await first == ("MISS", "answer 1")
    assert await bench.seen() == ("HIT", "answer 1")


async def test_what_is_purged_while_it_is_fetched_is_not_stored() -> None:
    origin = gated()
    bench = Bench(origin, **MEMORY)
    first = asyncio.create_task(bench.get())
    await settle()
    assert (await bench.get(method="PURGE")).status == 404
    assert origin.gate is not None
    origin.gate.set()
    await first
    assert (await bench.seen())[0] == "MISS"


async def test_purge_forgets_every_variant_and_the_response_to_post() -> None:
    bench = Bench(Origin(vary="x"), **MEMORY, cache_method=["GET", "POST"])
    await bench.get(x="1")
    await bench.get(x="2")
    await bench.get(method="POST")
    assert (await bench.seen(method="POST"))[0] == "HIT"
    assert (await bench.get(method="PURGE")).status == 200
    for method, x in [("GET", "1"), ("GET", "2"), ("POST", "")]:
        assert (await bench.seen(method=method, x=x))[0] == "MISS"


async def test_an_id_of_another_request_is_never_replayed() -> None:
    bench = Bench.around(Origin(), {RequestID: {}, ProxyCache: MEMORY})
    ids = {(await bench.get()).header("x-request-id") for _ in range(3)}
    assert bench.origin.calls == 1
    assert len(ids) == 3


class Sets(Plugin):
    """Sets a cookie on every answer."""

    name = "sets"
    priority = 1

    def header_filter(self, ctx: Context) -> None:
        ctx.response.headers.append(b"set-cookie", b"a=b")


class Refuses(Plugin):
    """Answers in access, after the cache."""

    name = "refuses"
    priority = 1

    def access(self, ctx: Context) -> Reply:
        return Response(404, b"refused")


async def test_a_plugin_s_cookie_prevents_storing() -> None:
    bench = Bench.around(Origin(), {ProxyCache: MEMORY, Sets: {}})
    assert (await bench.seen())[0] == "MISS"
    assert (await bench.seen())[0] == "MISS"


async def test_only_answers_of_the_target_are_stored() -> None:
    bench = Bench.around(Origin(), {ProxyCache: MEMORY, Refuses: {}})
    assert await bench.seen() == ("MISS", "refused")
    assert await bench.seen() == ("MISS", "refused")
    bench = Bench(Origin(), **MEMORY, cache_http_status=[502])
    bench.origin.fails = ConnectError("refused")
    for _ in range(2):
        answer = await bench.get()
        assert (answer.status, answer.header("apisix-cache-status")) == (502, "MISS")


@pytest.mark.parametrize("kind", ["short", "trailers", "file"])
async def test_what_is_not_seen_whole_is_not_stored(kind: str) -> None:
    class Odd(Origin):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            self.calls += 1
            length = [(b"content-length", b"5")] if kind == "short" else []
            start = {"type": "http.response.start", "status": 200, "headers": length}
            await send({**start, "trailers": True} if kind == "trailers" else start)
            if kind == "file":
                await send({"type": "http.response.pathsend", "path": "/x"})
                return
            await send({"type": "http.response.body", "body": b"abc"})
            if kind == "trailers":
                await send({"type": "http.response.trailers", "headers": []})

    bench = Bench(Odd(), **MEMORY)
    await bench.get()
    assert len((await bench.get()).messages) == {"short": 2, "trailers": 3, "file": 2}[kind]
    assert bench.origin.calls == 2


async def test_websockets_pass() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    bench = Bench(Origin(), **MEMORY)
    bench.origin.__class__ = type("App", (Origin,), {"__call__": staticmethod(app)})
    sent = await bench.client.websocket("/")
    assert [message["type"] for message in sent] == ["websocket.accept"]


class Target:
    """Notes where requests were to go."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def prepare(self, ctx: Context) -> None:
        return None

    async def __call__(self, ctx: Context, receive: Receive, send: Send) -> None:
        self.seen.append(ctx.request.target)
        await ctx.reply(Response(200))


async def test_a_path_that_is_no_utf_8_reaches_the_target_as_it_is() -> None:
    bench = Bench(Origin(), **MEMORY)
    app: Any = bench.client._app
    app._match.target = target = Target()
    await bench.get("/%ff/%C3%A9")
    assert target.seen == [b"/%FF/%C3%A9"]


class Stuck:
    """A client that takes the head of its answer, and the body when it is told to."""

    def __init__(self, bench: Bench) -> None:
        self.reads = asyncio.Event()
        self.body = b""
        scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "headers": []}
        self.done = asyncio.ensure_future(bench.client._app(scope, no_receive, self._take))

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            await self.reads.wait()
            self.body += message["body"]


@pytest.mark.parametrize("waits", ["for a piece", "in all"])
async def test_one_of_those_who_waited_in_vain_fetches_for_all(
    waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights, "STUCK_S", 0.05 if waits == "for a piece" else 3600.0)
    monkeypatch.setattr(flights, "WAIT_S", 3600.0 if waits == "for a piece" else 0.05)
    bench = Bench(Origin(), **MEMORY)
    first = Stuck(bench)
    await settle()
    bench.origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(bench.seen()) for _ in range(3)]
    while bench.origin.calls < 2:
        await asyncio.sleep(0.01)
    monkeypatch.setattr(flights, "WAIT_S", 3600.0)
    tasks += [asyncio.create_task(bench.seen()) for _ in range(3)]
    await settle()
    bench.origin.gate.set()
    answers = await asyncio.gather(*tasks)
    assert sorted(answers) == [("HIT", "answer 2")] * 5 + [("MISS", "answer 2")]
    assert await bench.seen() == ("HIT", "answer 2")
    first.reads.set()
    await first.done
    assert (bench.origin.calls, first.body) == (2, b"answer 1")


async def test_a_purge_reaches_a_fetch_that_nobody_waits_for_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flights, "STUCK_S", 0.01)
    bench = Bench(Origin(), **MEMORY)
    first = Stuck(bench)
    await settle()
    assert await bench.seen() == ("MISS", "answer 2")
    await bench.get(method="PURGE")
    first.reads.set()
    await first.done
    assert await bench.seen() == ("MISS", "answer 3")
