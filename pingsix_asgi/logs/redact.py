"""What a log may show of a request whose query holds secrets."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Final

from ..context import Context
from ..expr.variables import getter
from ..http.headers import Headers
from ..http.query import pairs

MASK: Final = b"***"
_WITH_URL: Final = frozenset((b"referer", b"location", b"content-location"))
"""Headers that repeat a query: that of the page before, or of where a redirect leads."""
_request_length = getter("request_length")


def redacted(ctx: Context, names: frozenset[str]) -> Context:
    """Return a copy to log of a request: the values of these query parameters are masked.

    Names are compared decoded, and as parameters are, by case. ``ctx`` stays what it is.
    """

    def mask(query: bytes) -> bytes:
        return b"&".join(_masked(part, names) for part in query.split(b"&"))

    shown = copy.copy(ctx)
    shown.vars = {"request_length": _request_length(ctx), **(ctx.vars or {})}
    shown.scope = {**ctx.scope, "query_string": mask(ctx.scope.get("query_string", b""))}
    shown.request = copy.copy(ctx.request)
    shown.request.query = mask(ctx.request.query)
    shown.request.headers = _headers(ctx.request.headers, mask)
    shown.response = copy.copy(ctx.response)
    shown.response.headers = _headers(ctx.response.headers, mask)
    return shown


def _masked(part: bytes, names: frozenset[str]) -> bytes:
    raw, equals, _ = part.partition(b"=")
    is_secret = bool(equals) and any(name in names for name, _ in pairs(raw))
    return raw + equals + MASK if is_secret else part


def _headers(headers: Headers, mask: Callable[[bytes], bytes]) -> Headers:
    return Headers([_line(name, value, mask) for name, value in headers])


def _line(name: bytes, value: bytes, mask: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    url, mark, rest = value.partition(b"?")
    if not mark or name not in _WITH_URL:
        return name, value
    query, hash_, fragment = rest.partition(b"#")
    return name, url + mark + mask(query) + hash_ + fragment
