"""Responses from bytes: what is understood, what is refused, and that slicing changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.errors import UpstreamProtocolError
from pingsix_asgi.proxy.reader import HELD_BYTES, MAX_HEAD_BYTES, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Read:
    """What a reader made of a stream; ``error`` is "" unless it refused."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    server: bytes | None = None
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    complete: bool = False
    error: bool = False


def read(*slices: bytes, is_head: bool = False, ends: bool = False) -> Read:
    reader = ResponseReader()
    reader.expect(is_head=is_head)
    body = b""
    try:
        for piece in slices:
            if reader.complete:
                break  # the connection would be closed, or idle
            reader.feed(piece)
            body += b"".join(reader.pieces)
            reader.pieces.clear()
        if ends:
            reader.end_of_stream()
    except UpstreamProtocolError:
        return Read(error=True)
    return Read(
        reader.status,
        reader.headers,
        reader.server,
        body,
        reader.passable_trailers(),
        reader.complete,
    )


def test_a_sized_response() -> None:
    data = OK + b"Server: x\r\nContent-Length: 5 \r\nX-A: 1\r\nConnection: keep-alive\r\n\r\nhello"
    reader = ResponseReader()
    reader.feed(data)
    assert (reader.status, reader.server, reader.pieces) == (200, b"x", [b"hello"])
    assert (b"x-a", b"1") in reader.headers
    assert b"connection" not in dict(reader.headers)
    assert reader.complete
    assert reader.ready
    assert reader.keep_alive


def test_one_reader_reads_one_response_after_another() -> None:
    reader = ResponseReader()
    for number in range(3):
        reader.expect(is_head=number == 1)
        body = b"" if number == 1 else b"%d" % number
        reader.feed(OK + b"Content-Length: 1\r\n\r\n" + body)
        assert reader.complete
        assert reader.keep_alive
        assert reader.pieces == ([body] if body else [])


@pytest.mark.parametrize(
    "field_line",
    [
        pytest.param(b"A: b\r\n c\r\n", id="obs-fold"),
        pytest.param(b"A: b\0c\r\n", id="nul"),
        pytest.param(b"A: b\rc\r\n", id="bare-cr"),
        pytest.param(b"A: b\n", id="bare-lf"),
        pytest.param(b"A: b\x01\r\n", id="control"),
        pytest.param(b"A : b\r\n", id="space-before-colon"),
        pytest.param(b": b\r\n", id="no-name"),
        pytest.param(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", id="cl-te"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", id="te-cl"),
        pytest.param(b"Content-Length: 5\r\nContent-Length: 6\r\n", id="two-lengths"),
        pytest.param(b"Content-Length: 5, 5\r\n", id="length-list"),
        pytest.param(b"Content-Length: +5\r\n", id="signed-length"),
        pytest.param(b"Content-Length: -5\r\n", id="negative-length"),
        pytest.param(b"Content-Length: 99999999999999999999999\r\n", id="huge-length"),
        pytest.param(b"Transfer-Encoding: gzip\r\n", id="te-gzip"),
        pytest.param(b"Transfer-Encoding: identity\r\n", id="te-identity"),
        pytest.param(b"Transfer-Encoding: chunked, gzip\r\n", id="te-chunked-not-last"),
        pytest.param(b"Transfer-Encoding: gzip, chunked\r\n", id="te-two-codings"),
        pytest.param(b"Transfer-Encoding: xchunked\r\n", id="te-unknown"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", id="te-twice"
        ),
    ],
)
@pytest.mark.parametrize("is_head", [False, True], ids=["GET", "HEAD"])
def test_ambiguous_heads_are_refused(field_line: bytes, is_head: bool) -> None:
    body = b"" if is_head else b"5\r\nhello\r\n0\r\n\r\n"
    assert read(OK + field_line + b"\r\n" + body, is_head=is_head).error


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 099 X\r\n",
        b"HTTP/1.1 600 X\r\n",
        b"HTTP/1.1 2000 X\r\n",
        b"HTTP/1.1 20 X\r\n",
        b"HTTP/1.2 200 X\r\n",
        b"HTTP/1.1 200 X\n",
        b"ICY 200 OK\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\r\n",
    ],
)
def test_bad_status_lines_are_refused(start: bytes) -> None:
    assert read(start + b"Content-Length: 0\r\n\r\n").error


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent-Length: 7\r\n\r\n",
        b"5\r\nhello\r\n0\r\nA: b\n\r\n",
    ],
)
def test_bad_chunks_are_refused(chunks: bytes) -> None:
    assert read(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks).error


def test_chunks_in_a_response_of_http_1_0_are_refused() -> None:
    assert read(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").error


def test_trailers_lose_what_frames_or_authorizes() -> None:
    data = (
        OK + b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"5;ext=1\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: evil\r\nConnection: x\r\nSet-Cookie: a\r\n\r\n"
    )
    reader = ResponseReader()
    reader.feed(data)
    assert reader.complete
    assert reader.announces_trailers
    assert reader.passable_trailers() == [(b"x-sum", b"1")]
    assert reader.headers == []


def test_nominated_fields_are_dropped() -> None:
    data = OK + b"Connection: X-Hop\r\nX-Hop: 1\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n"
    assert read(data).headers == [(b"set-cookie", b"a"), (b"content-length", b"0")]


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_no_body_and_no_length_after_204_and_304(status: bytes) -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\nX: 1\r\n\r\n")
    assert reader.complete
    assert reader.keep_alive
    assert reader.headers == [(b"x", b"1")]


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 500\r\n", b"Transfer-Encoding: chunked\r\n", b""]
)
def test_head_has_no_body(fields: bytes) -> None:
    result = read(OK + fields + b"\r\n", is_head=True)
    assert (result.complete, result.body) == (True, b"")


def test_a_body_after_head_makes_the_connection_unusable() -> None:
    reader = ResponseReader()
    reader.expect(is_head=True)
    reader.feed(OK + b"Content-Length: 5\r\n\r\nhello")
    assert reader.complete
    assert not reader.keep_alive


@pytest.mark.parametrize(
    "extra", [b"garbage", OK + b"Content-Length: 0\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_what_follows_a_response_makes_the_connection_unusable(extra: bytes) -> None:
    reader = ResponseReader()
    reader.feed(OK + b"X: 1\r\nContent-Length: 5\r\n\r\nhello" + extra)
    assert reader.complete
    assert (reader.status, reader.pieces) == (200, [b"hello"])
    assert reader.headers == [(b"x", b"1"), (b"content-length", b"5")]
    assert not reader.keep_alive


def test_interim_responses_are_dropped() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nServer: s\r\n\r\n")
    assert not reader.has_head
    assert not reader.continued
    reader.feed(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx")
    assert reader.continued
    assert reader.complete
    assert (reader.headers, reader.server) == ([(b"content-length", b"1")], None)


def test_a_101_that_nobody_asked_for_is_refused() -> None:
    head = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert read(head).error
    assert read(b"HTTP/1.1 101 S\r\n\r\n").error


def test_a_101_that_was_asked_for() -> None:
    reader = ResponseReader()
    reader.expect(is_head=False, wants_upgrade=True)
    reader.feed(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX: 1\r\n\r\nrest")
    assert (reader.status, reader.upgraded, reader.ready) == (101, b"rest", True)
    assert reader.headers == [(b"x", b"1")]


def test_interim_responses_without_end_are_refused() -> None:
    flood = b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_HEAD_BYTES // 20)
    assert read(*(flood[at : at + 4096] for at in range(0, len(flood), 4096))).error


@pytest.mark.parametrize("step", [1 << 20, 4096], ids=["one read", "many reads"])
def test_a_head_that_is_too_large_is_refused(step: int) -> None:
    data = OK + b"X: " + b"y" * (MAX_HEAD_BYTES + 1) + b"\r\nContent-Length: 0\r\n\r\n"
    assert read(*(data[at : at + step] for at in range(0, len(data), step))).error


def test_a_large_body_in_the_first_read_is_no_large_head() -> None:
    body = b"z" * (2 * MAX_HEAD_BYTES)
    result = read(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert result.complete
    assert result.body == body


def test_a_response_without_length_ends_with_the_stream() -> None:
    result = read(OK + b"\r\nhello", b" you")
    assert (result.body, result.complete) == (b"hello you", False)
    assert read(OK + b"\r\nhello", ends=True).complete
    assert not read(OK + b"Content-Length: 9\r\n\r\nhello", ends=True).complete
    assert not read(OK + b"X", ends=True).complete


@pytest.mark.parametrize(
    ("length", "ready"), [(HELD_BYTES, False), (HELD_BYTES + 1, True)], ids=["held", "streamed"]
)
def test_small_sized_responses_are_awaited_whole(length: int, ready: bool) -> None:
    reader = ResponseReader()
    reader.feed(OK + b"Content-Length: %d\r\n\r\nx" % length)
    assert reader.ready is ready


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\r\n\r\n", b"\r\n"])
def test_responses_of_unknown_length_are_streamed(framing: bytes) -> None:
    reader = ResponseReader()
    reader.feed(OK + framing)
    assert reader.ready


STREAMS = [
    OK + b"Server: s\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 11\r\n\r\nhello world",
    OK
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 9\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\n"
    + OK
    + b"Content-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 204 No Content\r\nX: 1\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nX: 1\r\n\r\nuntil the end",
    OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX",
    OK + b"Connection: X-Hop, close\r\nX-Hop: 1\r\nContent-Length: 1\r\n\r\n!",
]


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 200), max_size=12), st.booleans())
def test_slicing_a_stream_changes_nothing(stream: bytes, cuts: list[int], is_head: bool) -> None:
    if is_head:
        stream = (
            stream[: stream.rindex(b"\r\n\r\n") + 4] if b"chunked" not in stream else STREAMS[3]
        )
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    slices = [stream[a:b] for a, b in pairwise(places)]
    assert read(*slices, is_head=is_head, ends=True) == read(stream, is_head=is_head, ends=True)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.data())
def test_any_body_survives_any_chunking_and_slicing(
    bodies: list[bytes], data: st.DataObject
) -> None:
    stream = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    stream += b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies) + b"0\r\n\r\n"
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))
    places = sorted({*cuts, 0, len(stream)})
    result = read(*(stream[a:b] for a, b in pairwise(places)))
    assert result.body == b"".join(bodies)
    assert result.complete


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_reader(noise: bytes) -> None:
    read(noise, ends=True)
    read(OK + noise, ends=True)
    read(OK + b"Transfer-Encoding: chunked\r\n\r\n" + noise, ends=True)
