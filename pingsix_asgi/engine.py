"""One request through the phases, top to bottom. Read this file first.

It knows no router and no upstream: a Match says which plan and which target, a Target answers.
"""

from __future__ import annotations

import logging

from .context import CONTEXT_KEY, Context, Match
from .errors import ClientGone, PluginError, RequestError
from .http.response import Response, error_page
from .plugin.plan import NO_HOOKS, run

logger = logging.getLogger("pingsix_asgi.engine")


async def serve(ctx: Context, match: Match) -> None:
    """Answer one HTTP request or WebSocket handshake that was matched.

    A RequestError before the response started is answered with its status; after that it goes on
    to the server, which aborts the connection. What the wrapped app raises always goes on, but for
    a RequestError of ours that it lets through before its response started: of a middleware or a
    receive that plugins put around it, so then what is sent is observed.
    """
    ctx.match = match
    ctx.target = match.target
    plan = match.plan
    ctx.plan = plan.outer or plan
    receive = ctx.receive
    try:
        given = ctx.target.prepare(ctx) if plan.request is NO_HOOKS else run(plan.request, ctx)
        reply = given if given is None or isinstance(given, Response) else await given
        if reply is None:
            plan = ctx.plan
            if plan.middleware is not None:
                scope = {**ctx.app_scope(), CONTEXT_KEY: ctx}
                await plan.middleware(scope, ctx.receive, ctx.observed_send)
            elif plan.observes_response or ctx.receive is not receive:
                await ctx.target(ctx, ctx.receive, ctx.observed_send)
            else:
                await ctx.target(ctx, receive, ctx.server_send)
        else:
            await ctx.reply(reply)
    except RequestError as error:
        ctx.error = error
        await _answer_error(ctx, error)
    except BaseException as error:
        ctx.error = error
        raise
    finally:
        if ctx.plan.log:
            _log(ctx)


async def _answer_error(ctx: Context, error: RequestError) -> None:
    """Turn an error into a reply, or let the server abort a response that already started."""
    if isinstance(error, PluginError):
        logger.error("%s", error, exc_info=error.__cause__)
    else:
        level = logging.INFO if isinstance(error, ClientGone) else logging.WARNING
        request, name = ctx.request, type(error).__name__
        logger.log(level, "%s %s: %s: %s", request.method, request.path, name, error)
    if isinstance(error, ClientGone):
        ctx.status = ctx.status or error.status
    elif ctx.status:
        raise error
    else:
        await ctx.reply(error_page(error.status, list(error.headers)))


def _log(ctx: Context) -> None:
    if not ctx.status:
        ctx.status = 500 if isinstance(ctx.error, Exception) else 499
    for hook in ctx.plan.log:
        try:
            hook(ctx)
        except Exception:
            logger.exception("log hook %r failed", hook)
