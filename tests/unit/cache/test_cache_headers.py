"""Cache-Control, Age and Range as functions of headers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.cache.answer import answer, not_modified
from pingsix_asgi.cache.directives import directives, initial_age, lifetime, seconds
from pingsix_asgi.cache.store import Entry
from pingsix_asgi.context import Request
from pingsix_asgi.http.headers import Headers

NAMES = st.text("abcdefgh-", min_size=1, max_size=8)
VALUES = st.text("abc0123,= ", max_size=8)


@given(st.dictionaries(NAMES, VALUES, max_size=5), st.integers(0, 5))
def test_directives_are_read_back(said: dict[str, str], split: int) -> None:
    parts = [f'{name.upper()}="{value}"' for name, value in said.items()]
    lines = [", ".join(parts[:split]), ",".join(parts[split:])]
    headers = Headers([(b"cache-control", line.encode()) for line in lines if line])
    assert directives(headers) == said


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'ext="a\\"", private', {"ext": 'a"', "private": ""}),
        (b'ext="a, private", max-age=5', {"ext": "a, private", "max-age": "5"}),
        (b",, max-age = 5 ,No-Store =1,", {"max-age": "5", "no-store": "1"}),
        (b"", {}),
        (b"no-store;max-age=60", {"no-store": "", "max-age": "60"}),
        (b"PRIVATE;foo", {"no-store": "", "private": "", "foo": ""}),
        (b'public, x=", no-cache', {"no-store": "", "public": "", "x": "", "no-cache": ""}),
        (b"max-age=60; foo", {"max-age": "60", "foo": ""}),
        (b"max-age=60 private", {"no-store": "", "max-age": "60 private"}),
    ],
)
def test_a_line_that_might_forbid_to_store_does(line: bytes, expected: dict[str, str]) -> None:
    assert directives(Headers([(b"cache-control", line)])) == expected


@pytest.mark.parametrize("part", [b" ", b",", b'"', b"a", b'a="', b"\\", b"a=", b";"])
def test_long_lines_take_no_time(part: bytes) -> None:
    directives(Headers([(b"cache-control", part * 60_000)]))


def test_numbers_of_any_length_can_be_read() -> None:
    assert seconds("0" * 9 + "7") == 7
    assert seconds("9" * 5000) == seconds("9" * 11) == 2**31
    assert seconds("-1") is seconds("1.5") is seconds("") is None


@given(st.binary(max_size=40))
def test_any_bytes_can_be_asked_for_directives(line: bytes) -> None:
    headers = Headers([(b"cache-control", line), (b"age", line), (b"expires", line)])
    said = directives(headers)
    assert initial_age(headers, 1000.0) >= 0
    assert (lifetime(headers, said, 1000.0) or 0.0) >= 0


def test_several_ages_are_as_bad_as_none_that_can_be_read() -> None:
    assert initial_age(Headers([(b"age", b"0"), (b"age", b"0")]), 0.0) > 10**9
    assert initial_age(Headers([(b"age", b"7")]), 0.0) == 7
    assert initial_age(Headers([]), 0.0) == 0


@pytest.mark.parametrize(
    ("wanted", "stored", "expected"),
    [
        ({b"if-none-match": b"*"}, {}, True),
        ({b"if-none-match": b'"a", W/"b"'}, {b"etag": b'"b"'}, True),
        ({b"if-none-match": b'"a"'}, {}, False),
        ({b"if-none-match": b'"a"', b"if-modified-since": b"x"}, {b"etag": b'"b"'}, False),
        ({b"if-modified-since": b"nonsense"}, {b"last-modified": b"nonsense"}, False),
    ],
)
def test_conditions(wanted: dict[bytes, bytes], stored: dict[bytes, bytes], expected: bool) -> None:
    assert not_modified(Headers([*wanted.items()]), Headers([*stored.items()])) is expected


@given(
    st.binary(max_size=20),
    st.one_of(st.none(), st.integers(0, 25)),
    st.one_of(st.none(), st.integers(0, 25)),
)
def test_a_part_is_what_slicing_says(body: bytes, first: int | None, last: int | None) -> None:
    range_ = f"bytes={'' if first is None else first}-{'' if last is None else last}".encode()
    headers = Headers([(b"range", range_)])
    request = Request({"headers": [], "method": "GET"}, "/", b"/", "")
    reply = answer(Entry(200, [], body, 0.0, 0.0, 9.0), request, headers, 0.0)
    size = len(body)
    if first is None and last is not None:
        expected = body[max(size - last, 0) :] if last else b""
    else:
        expected = body[first : None if last is None else last + 1]
    is_range = first is not None or last is not None
    if not is_range or (first is not None and last is not None and last < first):
        assert (reply.status, reply.body) == (200, body)
    elif not expected:
        assert reply.status == 416
    else:
        assert (reply.status, reply.body) == (206, expected)
        said = dict(reply.headers)[b"content-range"].decode()
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", said)
        assert match is not None
        assert body[int(match[1]) : int(match[2]) + 1] == expected
