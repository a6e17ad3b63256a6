"""Responses whose head was read before: read as if it were new, whatever stands around it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pingsix_asgi.errors import UpstreamProtocolError
from pingsix_asgi.proxy import reader as module
from pingsix_asgi.proxy.reader import ResponseReader

HEAD = b"HTTP/1.1 200 OK\r\nServer: x\r\nX-A: 1\r\nContent-Length: 5\r\n\r\n"
SEEN = ("status", "headers", "server", "pieces", "complete", "ready", "has_head", "keep_alive")
ALSO = ("trailers", "chunked", "until_close", "continued", "upgraded", "received_any")


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_known", {})


def read(data: bytes, is_head: bool = False, then: bytes = b"") -> Any:
    """Return all that a reader tells of ``data``, or that it refused."""
    reader = ResponseReader()
    reader.expect(is_head)
    try:
        reader.feed(data)
        if then:
            reader.feed(then)
    except UpstreamProtocolError:
        return "refused"
    return {name: getattr(reader, name) for name in (*SEEN, *ALSO)}


LINES = st.sampled_from(
    [
        *(b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 7", b"content-length: 5 "),
        *(b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: keep-alive"),
        *(b"Connection: x-a", b"X-A: 1", b"X-A: 2", b"Server: s", b"Date: now", b"Bad", b"A:\x01"),
    ]
)
STARTS = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 304 Not"),
        *(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK", b"HTTP/1.1 600 X"),
    ]
)
BODIES = st.sampled_from(
    [b"", b"hello", b"hello!!", b"hell", b"5\r\nhello\r\n0\r\n\r\n", b"helloHTTP/1.1 200 OK\r\n"]
)


ANSWERS = st.lists(st.tuples(BODIES, st.booleans(), st.booleans()), min_size=2, max_size=3)
"""Body, whether it answers HEAD, and whether some of it comes in a second read."""


@settings(max_examples=600)
@given(STARTS, st.lists(LINES, max_size=3), ANSWERS)
@example(b"HTTP/1.1 200 OK", [b"Content-Length: 5"], [(b"", True, False), (b"", False, False)])
@example(
    b"HTTP/1.1 200 OK",
    [b"Content-Length: 5"],
    [(b"helloHTTP/1.1 200 OK\r\n", False, False), (b"hello", False, False)],
)
def test_every_reading_is_as_if_it_were_the_first(
    start: bytes, lines: list[bytes], answers: list[tuple[bytes, bool, bool]]
) -> None:
    head = b"\r\n".join([start, *lines, b"", b""])

    def answer(body: bytes, is_head: bool, in_two: bool) -> Any:
        cut = len(head) + len(body) // 2 if in_two else len(head) + len(body)
        return read((head + body)[:cut], is_head, (head + body)[cut:])

    expected = []
    for one in answers:
        module._known.clear()
        expected.append(answer(*one))
    module._known.clear()
    assert [answer(*one) for one in answers] == expected


def test_a_head_is_remembered_with_the_length_of_its_body() -> None:
    read(HEAD + b"hello")
    assert list(module._known) == [HEAD]
    assert read(HEAD + b"world")["pieces"] == [b"world"]


def test_what_is_meant_for_one_client_is_not_remembered() -> None:
    read(b"HTTP/1.1 200 OK\r\nSet-Cookie: id=1\r\nContent-Length: 0\r\n\r\n")
    assert not module._known


def test_what_plugins_do_to_headers_is_not_remembered() -> None:
    for _ in range(3):
        reader = ResponseReader()
        reader.feed(HEAD + b"hello")
        assert reader.headers == [(b"x-a", b"1"), (b"content-length", b"5")]
        reader.headers.append((b"x-added", b"1"))


def test_a_second_response_behind_a_known_one_makes_the_connection_unusable() -> None:
    read(HEAD + b"hello")
    assert not read(HEAD + b"hello", then=HEAD + b"again")["keep_alive"]


def test_heads_are_bounded_in_number_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_KNOWN", 3)
    for number in range(10):
        read(b"HTTP/1.1 200 OK\r\nX: %d\r\nContent-Length: 0\r\n\r\n" % number)
        assert len(module._known) <= 3
    module._known.clear()
    read(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2000 + b"\r\nContent-Length: 0\r\n\r\n")
    assert not module._known
