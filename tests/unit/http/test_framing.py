"""What delimits a request body, and what Connection can take away."""

from __future__ import annotations

import pytest

from pingsix_asgi.errors import DownstreamError
from pingsix_asgi.http.framing import CHUNKED, NO_BODY, UNSAID, body_framing, nominated

LENGTH = b"content-length"
CODING = b"transfer-encoding"


@pytest.mark.parametrize(
    ("fields", "version", "expected"),
    [
        ([], "1.1", NO_BODY),
        ([], "1.0", NO_BODY),
        ([], "2", UNSAID),
        ([], "3", UNSAID),
        ([(LENGTH, b"0")], "1.1", 0),
        ([(LENGTH, b"12")], "2", 12),
        ([(LENGTH, b"12"), (LENGTH, b"12")], "1.1", 12),
        ([(CODING, b"chunked")], "1.1", CHUNKED),
        ([(CODING, b" Chunked ")], "1.1", CHUNKED),
    ],
)
def test_framing_that_is_clear(
    fields: list[tuple[bytes, bytes]], version: str, expected: int
) -> None:
    assert body_framing(fields, version) == expected


@pytest.mark.parametrize(
    ("fields", "version", "status"),
    [
        ([(LENGTH, b"5"), (CODING, b"chunked")], "1.1", 400),
        ([(CODING, b"chunked"), (LENGTH, b"5")], "1.1", 400),
        ([(LENGTH, b"5"), (LENGTH, b"6")], "1.1", 400),
        ([(LENGTH, b"5, 5")], "1.1", 400),
        ([(LENGTH, b"+5")], "1.1", 400),
        ([(LENGTH, b"-5")], "1.1", 400),
        ([(LENGTH, b"0x5")], "1.1", 400),
        ([(LENGTH, b"5_0")], "1.1", 400),
        ([(LENGTH, b"\xd9\xa3")], "1.1", 400),
        ([(LENGTH, b"")], "1.1", 400),
        ([(LENGTH, b"9" * 30)], "1.1", 400),
        ([(CODING, b"chunked"), (CODING, b"chunked")], "1.1", 400),
        ([(CODING, b"chunked")], "1.0", 400),
        ([(CODING, b"chunked")], "2", 400),
        ([(CODING, b"gzip, chunked")], "1.1", 501),
        ([(CODING, b"chunked, gzip")], "1.1", 501),
        ([(CODING, b"identity")], "1.1", 501),
        ([(CODING, b"xchunked")], "1.1", 501),
    ],
)
def test_framing_that_two_readers_could_understand_differently_is_refused(
    fields: list[tuple[bytes, bytes]], version: str, status: int
) -> None:
    with pytest.raises(DownstreamError) as refused:
        body_framing(fields, version)
    assert refused.value.status == status


def test_connection_nominates_but_not_what_others_decide_by() -> None:
    lines = [b"keep-alive, X-Hop", b"close , Content-Length,host, AUTHORIZATION,x-other"]
    assert nominated(lines) == {b"x-hop", b"x-other"}
