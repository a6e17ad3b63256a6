"""Targets without network."""

from __future__ import annotations

import json
from typing import Any

from pingsix_asgi.plugin.plan import Plan
from pingsix_asgi.proxy.local import LocalTarget, NotFoundTarget
from pingsix_asgi.types import Message, Receive, Scope, Send
from support.contexts import make_context


async def test_the_app_sees_the_edits_of_plugins() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    target = LocalTarget(app)
    ctx = make_context("/a?x=1", headers={"X-A": "1"})
    ctx.plan = Plan()
    assert target.prepare(ctx) is None
    await target(ctx, ctx.receive, ctx.server_send)
    assert seen[0] is ctx.scope, "nothing was edited"
    ctx.request.headers.set(b"x-a", b"2")
    ctx.request.rewrite_path("/b")
    await target(ctx, ctx.receive, ctx.server_send)
    assert (seen[1]["path"], seen[1]["headers"]) == ("/b", [(b"x-a", b"2")])
    assert ctx.scope["path"] == "/a"


async def test_no_route() -> None:
    target = NotFoundTarget()
    ctx = make_context()
    ctx.plan = Plan()
    reply = target.prepare(ctx)
    assert reply is not None
    assert (reply.status, json.loads(reply.body)) == (404, {"error_msg": "404 Route Not Found"})
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    ctx.server_send = send
    unused: Any = None
    await target(ctx, unused, send)
    assert sent[0]["status"] == 404
