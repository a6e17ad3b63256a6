"""The short way to a request head: where it is taken, it gives what the long way gives."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pingsix_asgi.context import Request
from pingsix_asgi.errors import DownstreamError
from pingsix_asgi.http.forwarding import HOST_PART, Forwarding
from pingsix_asgi.http.framing import NO_BODY

FIELDS = st.sampled_from(
    [
        *((b"host", b"h:81"), (b"host", b"a b"), (b"host", b""), (b"accept", b"*/*")),
        *((b"x-a", b"1"), (b"x-a", b"1\r\nx-b: 2"), (b"x-a", b"\0"), (b"x-a", b"\n")),
        *((b"connection", b"keep-alive"), (b"connection", b"x-a"), (b"connection", b"close")),
        *((b"content-length", b"0"), (b"content-length", b"3"), (b"expect", b"100-continue")),
        *((b"transfer-encoding", b"chunked"), (b"te", b"trailers"), (b"upgrade", b"x")),
        *((b"x-forwarded-for", b"1.2.3.4"), (b"x-real-ip", b"1.2.3.4"), (b"cookie", b"a=b")),
    ]
)


def long_way(request: Request, scope: dict[str, Any], host: bytes | None) -> bytes | None:
    """Return the head, None where it has a body to frame or must be refused."""
    try:
        head = Forwarding().head(request, scope)
        if host is not None:
            head.parts[HOST_PART] = host
        return head.encode() if head.length == NO_BODY else None
    except DownstreamError:
        return None


HOST = (b"host", b"h:81")


@settings(max_examples=1000)
@given(
    st.lists(FIELDS, max_size=2).map(lambda fields: [HOST, *fields]) | st.lists(FIELDS),
    st.sampled_from(["GET", "GET", "HEAD", "POST", "PURGE", "CONNECT"]),
    st.sampled_from([b"", b"", b"", b"a=1", b"a b"]),
    st.sampled_from(["1.1", "1.1", "1.1", "1.0", "2"]),
    st.sampled_from([None, b"node:8000"]),
)
def test_both_ways_lead_to_the_same_bytes(
    fields: list[tuple[bytes, bytes]], method: str, query: bytes, version: str, host: bytes | None
) -> None:
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": version,
        "method": method,
        "scheme": "http",
        "query_string": query,
        "headers": fields,
        "client": ("192.0.2.7", 4711),
        "server": ("198.51.100.1", 81),
    }
    request = Request(scope, "/a", b"/a", "h")
    try:
        short = Forwarding().plain(request, scope, host)
    except DownstreamError:
        short = None
    assert short is None or short == long_way(request, scope, host)


def test_an_ordinary_request_goes_the_short_way() -> None:
    fields = [(b"host", b"h:81"), (b"accept", b"*/*"), (b"connection", b"keep-alive")]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "headers": fields}
    request = Request(scope, "/a", b"/a", "h")
    assert Forwarding().plain(request, scope, None) == long_way(request, scope, None)
    assert Forwarding().plain(request, scope, b"n:1") == long_way(request, scope, b"n:1")
