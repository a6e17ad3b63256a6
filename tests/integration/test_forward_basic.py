"""Forward against an upstream of raw bytes: requests, answers, framing, hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pingsix_asgi.context import Context
from pingsix_asgi.proxy.local import LocalTarget
from pingsix_asgi.types import Message, Receive, Send
from pingsix_asgi.upstream.node import LOCAL_HOST, Node
from support.raw_upstream import (
    OK,
    Fronts,
    ListedUpstream,
    OneRoute,
    Peer,
    answering,
    ask,
)


@pytest.fixture
async def fronted() -> AsyncIterator[Fronts]:
    async with Fronts() as fronts:
        yield fronts


async def test_a_request_and_its_answer(fronted: Fronts) -> None:
    app, raw = await fronted(
        answering(b"HTTP/1.1 201 Made\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 5\r\n\r\nhello")
    )
    answer = await ask(app, target="/a%20b?x=1", headers=[(b"host", b"h:81"), (b"x-b", b"3")])
    assert answer.messages == [
        {
            "type": "http.response.start",
            "status": 201,
            "headers": [(b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"5")],
        },
        {"type": "http.response.body", "body": b"hello", "more_body": False},
    ]
    line, *fields = raw.heads[0].split(b"\r\n")
    assert line == b"GET /a%20b?x=1 HTTP/1.1"
    assert fields[:2] == [b"host: h:81", b"x-b: 3"]
    exchange = answer.ctx.upstream
    assert (exchange.status, exchange.statuses) == (201, [201])
    assert exchange.addr == [f"127.0.0.1:{raw.port}"]
    assert exchange.bytes_in == 61
    assert exchange.connect_s > 0
    assert exchange.response_s >= exchange.header_s > 0
    assert answer.ctx.status == 201
    assert [done.status for done in app.upstream.finishes] == [201]
    assert app.upstream.nodes[0].active == 0


async def test_connections_are_reused(fronted: Fronts) -> None:
    app, raw = await fronted(answering(OK))
    for _ in range(5):
        assert (await ask(app)).body == b"ok"
    assert len(raw.peers) == 1
    assert len(raw.heads) == 5
    assert app.contexts[-1].upstream.connect_s == 0


@pytest.mark.parametrize(
    ("wire", "body", "length"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", b"abcde", b"5"),
        (b"Content-Length: 0\r\n\r\n", b"", b"0"),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"", b"0"),
    ],
    ids=["chunked", "empty", "chunked-empty"],
)
async def test_bodies_that_arrive_at_once_are_sized(
    fronted: Fronts, wire: bytes, body: bytes, length: bytes
) -> None:
    app, _ = await fronted(answering(b"HTTP/1.1 200 OK\r\n" + wire))
    answer = await ask(app)
    assert len(answer.messages) == 2
    assert (answer.body, answer.headers[b"content-length"]) == (body, length)


async def test_a_small_sized_answer_in_pieces_is_sent_as_one(fronted: Fronts) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in (b"HTTP/1.1 200 OK\r\nContent-", b"Length: 6\r\n\r\n", b"abc", b"def"):
            await peer.send(piece)

    app, _ = await fronted(script)
    assert [message.get("body") for message in (await ask(app)).messages] == [None, b"abcdef"]


async def test_an_answer_until_close(fronted: Fronts) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
        peer.close()

    app, raw = await fronted(script)
    for _ in range(2):
        assert (await ask(app)).body == b"hello"
    assert len(raw.peers) == 2


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_body(fronted: Fronts, status: bytes) -> None:
    app, raw = await fronted(answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n"))
    for _ in range(2):
        answer = await ask(app)
        assert answer.body == b""
        assert b"content-length" not in answer.headers
    assert len(raw.peers) == 1


async def test_head_keeps_the_length_and_the_connection(fronted: Fronts) -> None:
    app, raw = await fronted(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", OK))
    answer = await ask(app, "HEAD")
    assert (answer.headers[b"content-length"], answer.body) == (b"500", b"")
    assert (await ask(app)).body == b"ok"
    assert len(raw.peers) == 1


async def test_garbage_after_an_answer_ends_the_connection(fronted: Fronts) -> None:
    app, raw = await fronted(answering(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"))
    for _ in range(3):
        assert (await ask(app)).body == b"ok"
    assert len(raw.peers) == 3


async def test_connection_close_is_obeyed(fronted: Fronts) -> None:
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    app, raw = await fronted(answering(closing))
    for _ in range(2):
        answer = await ask(app)
        assert answer.body == b"ok"
        assert b"connection" not in answer.headers
    assert len(raw.peers) == 2


async def test_server_field(fronted: Fronts) -> None:
    named = b"HTTP/1.1 200 OK\r\nServer: theirs\r\ncontent-length: 0\r\n\r\n"
    app, _ = await fronted(answering(named))
    assert (await ask(app)).headers[b"server"] == b"theirs"
    app, _ = await fronted(answering(named), forward={"server": b"ours"})
    assert (await ask(app)).headers[b"server"] == b"ours"
    app, _ = await fronted(answering(OK))
    assert b"server" not in (await ask(app)).headers


async def test_upstream_status_is_shown_on_failures(fronted: Fronts) -> None:
    failing = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
    app, _ = await fronted(answering(failing))
    assert (await ask(app)).headers[b"x-apisix-upstream-status"] == b"503"
    app, _ = await fronted(answering(OK))
    assert b"x-apisix-upstream-status" not in (await ask(app)).headers
    app, _ = await fronted(answering(OK), forward={"show_status": True})
    assert (await ask(app)).headers[b"x-apisix-upstream-status"] == b"200"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pass_host": "pass"}, b"host: gateway.test"),
        ({"pass_host": "rewrite", "upstream_host": "other.test:8"}, b"host: other.test:8"),
        ({"pass_host": "node"}, b"host: 127.0.0.1:%d"),
    ],
)
async def test_host(fronted: Fronts, options: dict[str, str], expected: bytes) -> None:
    app, raw = await fronted(answering(OK), **options)
    await ask(app)
    if b"%d" in expected:
        expected = expected % raw.port
    assert raw.heads[0].split(b"\r\n")[1] == expected


async def test_host_of_a_request_that_names_none(fronted: Fronts) -> None:
    app, raw = await fronted(answering(OK))
    await ask(app, headers=(), http_version="1.0")
    assert raw.heads[0].split(b"\r\n")[1] == b"host: 127.0.0.1:%d" % raw.port


@pytest.mark.parametrize(
    ("scheme", "host", "port", "expected"),
    [
        ("http", "a.test", 80, b"a.test"),
        ("http", "a.test", 443, b"a.test:443"),
        ("https", "a.test", 443, b"a.test"),
        ("http", "::1", 8080, b"[::1]:8080"),
        ("http", "[::1]", 80, b"[::1]"),
    ],
)
def test_host_of_a_node(scheme: str, host: str, port: int, expected: bytes) -> None:
    forward = OneRoute(ListedUpstream(1, scheme=scheme, pass_host="node")).target
    assert forward._host(Node(host, port)) == expected


async def echo(peer: Peer) -> None:
    """Answer with the request's head and body, as they came."""
    while True:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        peer.heads.append(head)
        body = b""
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        if fields.get(b"transfer-encoding") == b"chunked":
            while not body.endswith(b"0\r\n\r\n"):
                body += await peer.reader.read(65536)
        elif b"content-length" in fields:
            body = await peer.reader.readexactly(int(fields[b"content-length"]))
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize(
    ("fields", "pieces", "version", "framing", "wire"),
    [
        ([(b"content-length", b"5")], [b"hello"], "1.1", b"content-length: 5", b"hello"),
        ([(b"content-length", b"5")], [b"he", b"llo"], "1.1", b"content-length: 5", b"hello"),
        ([(b"transfer-encoding", b"chunked")], [b"hey"], "1.1", b"content-length: 3", b"hey"),
        (
            [(b"transfer-encoding", b"chunked")],
            [b"he", b"", b"llo"],
            "1.1",
            b"transfer-encoding: chunked",
            b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ),
        ([], [b"hey"], "2", b"content-length: 3", b"hey"),
        (
            [],
            [b"he", b"y"],
            "2",
            b"transfer-encoding: chunked",
            b"2\r\nhe\r\n1\r\ny\r\n0\r\n\r\n",
        ),
        ([(b"content-length", b"3")], [b"he", b"y"], "2", b"content-length: 3", b"hey"),
        ([(b"content-length", b"0")], [], "1.1", b"content-length: 0", b""),
        ([], [], "1.1", b"content-length: 0", b""),
    ],
)
async def test_request_bodies(
    fronted: Fronts,
    fields: list[tuple[bytes, bytes]],
    pieces: list[bytes],
    version: str,
    framing: bytes,
    wire: bytes,
) -> None:
    app, raw = await fronted(echo)
    headers = [(b"host", b"h"), *fields]
    answer = await ask(app, "POST", headers=headers, body=pieces, http_version=version)
    assert answer.body == wire
    lines = raw.heads[0].split(b"\r\n")
    framings = [x for x in lines if x.startswith((b"content-length", b"transfer-encoding"))]
    assert framings == [framing]
    assert (await ask(app)).status == 200
    assert len(raw.peers) == 1


async def test_an_http2_get_without_body_gets_no_framing(fronted: Fronts) -> None:
    app, raw = await fronted(echo)
    await ask(app, http_version="2")
    assert b"content-length" not in raw.heads[0]
    assert b"transfer-encoding" not in raw.heads[0]


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        ("POST", [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], 400),
        ("POST", [(b"content-length", b"5"), (b"content-length", b"6")], 400),
        ("POST", [(b"transfer-encoding", b"gzip")], 501),
        ("GET", [(b"host", b"two")], 400),
        ("GET", [(b"x", b"a\r\nb: c")], 400),
        ("BAD METHOD", [], 400),
        ("CONNECT", [], 405),
        ("POST", [(b"expect", b"wonders")], 417),
    ],
)
async def test_requests_that_are_never_passed_on(
    fronted: Fronts, method: str, fields: list[tuple[bytes, bytes]], status: int
) -> None:
    app, raw = await fronted(answering(OK))
    answer = await ask(app, method, headers=[(b"host", b"h"), *fields], body=[b"hello"])
    assert answer.status == status
    assert not raw.peers
    assert app.upstream.nodes[0].active == 0


@pytest.mark.parametrize("pieces", [[b"he", b"llo!"], [b"he", b"l"], [b"hello!", b""]])
async def test_a_body_that_is_not_as_long_as_it_says(fronted: Fronts, pieces: list[bytes]) -> None:
    app, raw = await fronted(echo)
    headers = [(b"host", b"h"), (b"content-length", b"5")]
    assert (await ask(app, "POST", headers=headers, body=pieces)).status == 400
    assert not any(b"llo!" in head for head in raw.heads)
    assert app.upstream.pool.statistics().busy == 0


async def test_trailers_go_where_the_server_takes_them(fronted: Fronts) -> None:
    wire = (
        b"HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n0\r\nX-Sum: 7\r\nContent-Type: evil\r\n\r\n"
    )
    app, raw = await fronted(answering(wire))
    headers = [(b"host", b"h"), (b"te", b"trailers")]
    answer = await ask(app, headers=headers, extensions={"http.response.trailers": {}})
    assert answer.messages[0]["trailers"] is True
    assert answer.messages[-1] == {
        "type": "http.response.trailers",
        "headers": [(b"x-sum", b"7")],
        "more_trailers": False,
    }
    assert answer.body == b"hi"
    assert b"\r\nte: trailers\r\nconnection: te\r\n" in raw.heads[0]
    plain = await ask(app, headers=headers)
    assert plain.body == b"hi"
    assert "trailers" not in plain.messages[0]
    assert {message["type"] for message in plain.messages} == {
        "http.response.start",
        "http.response.body",
    }
    assert b"te: trailers" not in raw.heads[1]


async def test_a_body_that_a_plugin_put_in_place_is_sent(fronted: Fronts) -> None:
    app, _ = await fronted(echo)

    def prepare(ctx: Context) -> None:
        ctx.replace_body(b"a longer body than the client's")
        ctx.node = app.upstream.nodes[0]

    app.target.prepare = prepare
    for method, fields in (("POST", [(b"content-length", b"2")]), ("GET", [])):
        answer = await ask(app, method, headers=[(b"host", b"h"), *fields], body=[b"hi"])
        assert answer.body == b"a longer body than the client's"


async def test_the_wrapped_app_as_a_node(fronted: Fronts) -> None:
    async def wrapped(scope: Any, receive: Receive, send: Send) -> None:
        message: Message = await receive()
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b"app got " + message["body"]})

    app, raw = await fronted(answering(OK), forward={"local": LocalTarget(wrapped)})
    app.upstream.nodes.insert(0, Node(LOCAL_HOST, 1))
    answer = await ask(app, "POST", headers=[(b"content-length", b"2")], body=[b"hi"])
    assert (answer.status, answer.body) == (202, b"app got hi")
    assert not raw.peers
    assert len(app.upstream.finishes) == 1
