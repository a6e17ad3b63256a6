"""The target without network."""

from __future__ import annotations

from pingsix_asgi.plugin.plan import Plan
from pingsix_asgi.proxy.local import LocalTarget
from pingsix_asgi.types import Receive, Scope, Send
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
