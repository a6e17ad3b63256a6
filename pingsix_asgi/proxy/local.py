"""Targets that need no network: the wrapped app, and the answer to what matches nothing."""

from __future__ import annotations

from ..context import Context
from ..http.response import NOT_FOUND, Response
from ..types import ASGIApp, Receive, Send


class LocalTarget:
    """The wrapped app answers, from a scope with the edits of plugins."""

    __slots__ = ("_app",)

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def prepare(self, ctx: Context) -> Response | None:
        """There is no node to pick."""
        return None

    async def __call__(self, ctx: Context, receive: Receive, send: Send) -> None:
        """Call the app; what it raises goes on to the server."""
        await self._app(ctx.app_scope(), receive, send)


class NotFoundTarget:
    """No route matched and there is no app: APISIX's 404."""

    __slots__ = ()

    def prepare(self, ctx: Context) -> Response | None:
        """Answer before anything else could."""
        return NOT_FOUND

    async def __call__(self, ctx: Context, receive: Receive, send: Send) -> None:
        """Answer all the same if somebody asks."""
        await ctx.reply(NOT_FOUND)
