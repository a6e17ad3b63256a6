"""Request cookies."""

from __future__ import annotations

import pytest

from pingsix_asgi.http.cookies import cookie, without_cookie
from pingsix_asgi.http.headers import Headers


def headers(*lines: bytes) -> Headers:
    return Headers([(b"cookie", line) for line in lines] + [(b"x", b"a=9")])


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ((), None),
        ((b"a=1",), "1"),
        ((b"b=2; a=1",), "1"),
        ((b"b=2;a = 1 ;c=3",), "1"),
        ((b"a=1; a=2",), "1"),
        ((b"b=2", b"a=1"), "1"),
        ((b"A=1",), None),
        ((b"aa=1; ba=2",), None),
        ((b"a",), None),
        ((b"a=",), ""),
        ((b"a=x=y",), "x=y"),
        ((b'a="q"',), '"q"'),
        ((b"a=\xff",), "\udcff"),
    ],
)
def test_first_cookie_of_a_name(lines: tuple[bytes, ...], value: str | None) -> None:
    assert cookie(headers(*lines), "a") == value


def test_taking_a_cookie_out() -> None:
    edited = headers(b"a=1; b=2;  a=3;c", b"a=4", b"d=5")
    without_cookie(edited, "a")
    assert edited.getlist(b"cookie") == [b"b=2; c", b"d=5"]
    assert edited.get(b"x") == b"a=9"


def test_nothing_is_copied_when_there_is_nothing_to_take_out() -> None:
    kept = headers(b"b=2")
    raw = kept.raw
    without_cookie(kept, "a")
    assert kept.raw is raw
