"""What a request gets of a stored response: all of it, a part, or only that nothing changed."""

from __future__ import annotations

import re

from ..context import Request
from ..http.headers import Headers
from ..http.response import Response, error_page
from ..types import RawHeaders
from .directives import http_date
from .store import Entry

_RANGE = re.compile(rb"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))")
_NOT_IN_304 = frozenset(
    {
        *(b"content-encoding", b"content-language", b"content-length", b"content-md5"),
        *(b"content-range", b"content-type"),
    }
)


def answer(entry: Entry, request: Request, conditions: Headers, now: float) -> Response:
    """Answer a request with a stored response.

    ``conditions`` are the client's headers, as they were before the gateway asked the origin with
    its own. Source: RFC 9111 §4.3.2, RFC 9110 §13.2.2 and §14.2.
    """
    headers = [*entry.headers, (b"age", b"%d" % entry.current_age(now))]
    if entry.status == 200:
        stored = Headers(entry.headers)
        if not_modified(conditions, stored):
            return Response(304, b"", unchanged(headers))
        wanted = conditions.getlist(b"range")
        if len(wanted) == 1 and request.method == "GET" and _still_wants_part(conditions, stored):
            return _part(entry, headers, wanted[0]) or Response(200, entry.body, headers)
    return Response(entry.status, entry.body, headers)


def not_modified(conditions: Headers, stored: Headers) -> bool:
    """Tell whether a response answers a conditional request with 304 (RFC 9110 §13.2.2)."""
    wanted = conditions.combined(b"if-none-match")
    if wanted is not None:
        tag = stored.get(b"etag")
        if wanted.strip() == b"*":
            return True
        tags = {_weak(part.strip()) for part in wanted.split(b",")}
        return tag is not None and _weak(tag) in tags
    since = http_date(conditions.get(b"if-modified-since"))
    changed = http_date(stored.get(b"last-modified"))
    return since is not None and changed is not None and changed <= since


def unchanged(headers: RawHeaders) -> RawHeaders:
    """Return the headers of a 304, without those on a body that is not sent (RFC 9110 §15.4.5)."""
    return [pair for pair in headers if pair[0] not in _NOT_IN_304]


def _still_wants_part(conditions: Headers, stored: Headers) -> bool:
    """Compare If-Range: a strong entity tag, or exactly the date (RFC 9110 §13.1.5)."""
    wanted = conditions.get(b"if-range")
    if wanted is None:
        return True
    if wanted.endswith(b'"'):
        return not wanted.startswith(b"W/") and wanted == stored.get(b"etag")
    return wanted == stored.get(b"last-modified")


def _part(entry: Entry, headers: RawHeaders, wanted: bytes) -> Response | None:
    """Return 206 or 416 for one range of bytes; None for what is not one: Range is ignored then."""
    match = _RANGE.fullmatch(wanted.replace(b" ", b"").lower())
    if match is None:
        return None
    size = len(entry.body)
    if match[3] is not None:
        first, last = max(size - int(match[3]), 0), size - 1
    else:
        first, last = int(match[1]), min(int(match[2] or size), size - 1)
        if match[2] is not None and int(match[2]) < first:
            return None
    if first >= size:
        return error_page(416, [(b"content-range", b"bytes */%d" % size)])
    headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, size)))
    return Response(206, entry.body[first : last + 1], headers)


def _weak(tag: bytes) -> bytes:
    return tag.removeprefix(b"W/")
