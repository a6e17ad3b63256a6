"""The target that needs no network: the wrapped app."""

from __future__ import annotations

from ..context import Context
from ..errors import RequestError
from ..http.response import Response
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
        try:
            await self._app(ctx.app_scope(), receive, send)
        except RequestError as error:
            if send is ctx.server_send:  # nobody saw whether the response started: no second one
                ctx.status = ctx.status or error.status
            raise
