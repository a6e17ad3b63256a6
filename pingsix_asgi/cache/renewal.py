"""Stale responses are renewed behind the back of a client that got one already (RFC 5861 §3)."""

from __future__ import annotations

import asyncio
import copy
import logging
from dataclasses import replace
from typing import Final

from ..context import Context
from ..http.framing import announced_length
from ..http.headers import Headers
from ..plugin.errands import Errands
from ..types import Message

logger = logging.getLogger("pingsix_asgi.cache")

MAX_UNDER_WAY: Final = 256
"""Renewals at once; beyond that a client waits for its own, as it does without this."""


def renewals() -> Errands:
    """Return the place where renewals are under way."""
    return Errands("pingsix-cache-renewal", MAX_UNDER_WAY)


def may_be_repeated(ctx: Context) -> bool:
    """Tell whether a request can be made once more without its client: it has no body."""
    headers = ctx.scope["headers"]
    is_chunked = any(name == b"transfer-encoding" for name, _ in headers)
    return (
        ctx.request.method in ("GET", "HEAD") and not is_chunked and not announced_length(headers)
    )


def apart(ctx: Context) -> Context:
    """Return a context for a GET of the same that has no client: what it sends goes nowhere.

    Its response passes the header filters, which may keep it from being stored, and no others.
    """
    own = copy.copy(ctx)
    own.scope = {**ctx.scope, "method": "GET"}
    own.receive, own.server_send = _Bodiless().receive, _nowhere
    own.request = copy.copy(ctx.request)
    own.request.method = "GET"
    own.request.headers = Headers(list(ctx.request.headers.raw))
    own.plan = replace(ctx.plan, body_filters=(), log=())
    own.vars = None if ctx.vars is None else dict(ctx.vars)
    own.state = {}
    return own


class _Bodiless:
    """A client that has sent its request and stays."""

    def __init__(self) -> None:
        self._is_read = False

    async def receive(self) -> Message:
        if self._is_read:
            await asyncio.Event().wait()
        self._is_read = True
        return {"type": "http.request", "body": b"", "more_body": False}


async def _nowhere(message: Message) -> None:
    """Take what would go to the client."""
