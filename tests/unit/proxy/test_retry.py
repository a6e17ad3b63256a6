"""Which failures may be tried again."""

from __future__ import annotations

import pytest

from pingsix_asgi.errors import ConnectError, UpstreamError, UpstreamProtocolError, UpstreamTimeout
from pingsix_asgi.http.forwarding import Head
from pingsix_asgi.proxy.outgoing import Outgoing
from pingsix_asgi.proxy.retry import may_repeat

BROKEN = UpstreamProtocolError("broken")


@pytest.mark.parametrize(
    ("error", "method", "consumed", "expected"),
    [
        (ConnectError(), "POST", False, True),
        (ConnectError(), "POST", True, True),
        (UpstreamTimeout("connect"), "PATCH", False, True),
        (UpstreamTimeout("read"), "POST", False, False),
        (UpstreamTimeout("send"), "PATCH", False, False),
        (UpstreamTimeout("read"), "GET", False, True),
        (BROKEN, "GET", False, True),
        (BROKEN, "HEAD", False, True),
        (BROKEN, "OPTIONS", False, True),
        (BROKEN, "PUT", False, True),
        (BROKEN, "DELETE", False, True),
        (BROKEN, "PUT", True, False),
        (BROKEN, "POST", False, False),
        (BROKEN, "LOCK", False, False),
        (BROKEN, "get", False, False),
    ],
)
def test_rules(error: UpstreamError, method: str, consumed: bool, expected: bool) -> None:
    request = Outgoing(Head([], 1), b"", b"x")
    request.consumed = consumed
    assert may_repeat(error, method, request) is expected
