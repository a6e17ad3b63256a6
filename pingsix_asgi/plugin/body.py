"""What plugins that change response bodies have in common."""

from __future__ import annotations

from ..context import Context

_BODILESS = frozenset({204, 205, 304})


def has_body(ctx: Context) -> bool:
    """Tell whether the response may carry a body, by its status and the client's own method."""
    status = ctx.response.status
    return (
        status not in _BODILESS
        and status >= 200
        and ctx.scope.get("method", "GET") != "HEAD"
        and not ctx.is_websocket
    )
