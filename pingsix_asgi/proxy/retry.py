"""Which failures may be tried again: never one that could make a node do the same thing twice.

Source: RFC 9110 §9.2.2; nginx ``proxy_next_upstream error timeout`` without ``non_idempotent``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import ConnectError, UpstreamError, UpstreamProtocolError, UpstreamTimeout

if TYPE_CHECKING:
    from .connection import Connection
    from .outgoing import Outgoing

MAX_ATTEMPTS: Final = 16
"""Bound on attempts whatever ``retries`` says. Source: pingora.max_retries."""

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


def may_repeat(error: UpstreamError, method: str, request: Outgoing) -> bool:
    """Tell whether the request may be sent again: nothing was sent, or sending twice is harmless
    and all of the body is still at hand."""
    if isinstance(error, ConnectError):
        return True
    if isinstance(error, UpstreamTimeout) and error.step == "connect":
        return True
    return method in _IDEMPOTENT and not request.consumed


def was_stale(connection: Connection | None, error: UpstreamError) -> bool:
    """Tell whether a kept connection ended without an answer: the node closed it as we wrote."""
    return (
        connection is not None
        and connection.requests > 1
        and not connection.received_any
        and isinstance(error, UpstreamProtocolError)
    )
