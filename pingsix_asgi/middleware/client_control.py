"""Limit the size of request bodies."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..context import Context
from ..errors import DownstreamError
from ..http.response import error_page
from ..plugin.base import Plugin, PluginConf, Reply
from ..types import Message

_MOST_DIGITS = 19
"""Of a length that any body may have."""


class ClientControl(Plugin):
    """Refuse a body larger than ``max_body_size`` bytes (0: no limit) with 413.

    A declared length is checked at once; a body without one is counted while it is read, so it
    still streams. Source: apisix/plugins/client-control.lua.
    """

    name = "client-control"
    priority = 22000

    class Conf(PluginConf):
        max_body_size: Annotated[int, Field(ge=0)] | None = None
        """Bytes; 0 or unset: no limit."""

    def __init__(self, conf: Conf) -> None:
        self._limit = conf.max_body_size or 0

    def rewrite(self, ctx: Context) -> Reply:
        limit = self._limit
        if not limit:
            return None
        declared = ctx.request.headers.get(b"content-length")
        if declared is not None:
            return error_page(413) if _is_larger(declared, limit) else None
        if _may_have_body(ctx):
            _count_body(ctx, limit)
        return None


def _is_larger(declared: bytes, limit: int) -> bool:
    return declared.isdigit() and (len(declared) > _MOST_DIGITS or int(declared) > limit)


def _may_have_body(ctx: Context) -> bool:
    """Tell whether a request without a length may have a body; HTTP/2 has no other sign of one."""
    if ctx.request.method not in ("GET", "HEAD") or b"transfer-encoding" in ctx.request.headers:
        return True
    return not ctx.scope.get("http_version", "").startswith("1")


def _count_body(ctx: Context, limit: int) -> None:
    """Put a counter between the client and whoever reads the body."""
    inner, seen = ctx.receive, 0

    async def receive() -> Message:
        nonlocal seen
        message = await inner()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise DownstreamError(f"request body larger than {limit} bytes", status=413)
        return message

    ctx.receive = receive
