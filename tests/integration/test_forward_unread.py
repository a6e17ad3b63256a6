"""Peers that do not read, do not end or do not keep to the protocol: nothing is held for them."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from hashlib import sha1
from typing import Any

import pytest

from pingsix_asgi.errors import UpstreamProtocolError
from pingsix_asgi.types import Message
from pingsix_asgi.upstream.node import Timeouts
from support.raw_upstream import OK, Fronts, OneRoute, Peer, Script, ask, eventually
from support.servers import serving

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
QUICK = Timeouts(5, 0.3, 5)


@pytest.fixture
async def fronted() -> AsyncIterator[Fronts]:
    async with Fronts() as fronts:
        yield fronts


async def accept(peer: Peer, *fields: bytes) -> None:
    """Accept a WebSocket handshake, with further fields."""
    head = await peer.request()
    key = head.split(b"sec-websocket-key: ")[1].split(b"\r\n")[0]
    token = b64encode(sha1(key + GUID, usedforsecurity=False).digest())
    lines = (b"upgrade: websocket", b"connection: upgrade", b"sec-websocket-accept: " + token)
    await peer.send(b"\r\n".join((b"HTTP/1.1 101 S", *lines, *fields, b"", b"")))


def answering_socket(*fields: bytes, then: Callable[[Peer], Any] | None = None) -> Script:
    async def script(peer: Peer) -> None:
        await accept(peer, *fields)
        if then is not None:
            await then(peer)

    return script


async def never(_: Any = None) -> None:
    await asyncio.sleep(3600)


async def chat(
    app: OneRoute, receive: Callable[[], Message | None], sent: list[Message] | None = None
) -> None:
    """Open a WebSocket in memory; ``receive`` gives the client's messages, None: nothing more."""
    opened = False

    async def receiving() -> Message:
        nonlocal opened
        if not opened:
            opened = True
            return {"type": "websocket.connect"}
        await asyncio.sleep(0)
        message = receive()
        if message is None:
            await never()
        assert message is not None
        return message

    async def send(message: Message) -> None:
        if sent is not None:
            sent.append(message)

    scope = {"type": "websocket", "path": "/", "raw_path": b"/", "headers": [(b"host", b"h")]}
    await app(scope, receiving, send)


def is_empty(app: OneRoute) -> bool:
    now = app.upstream.pool.statistics()
    return now.idle == now.busy == 0


async def test_a_connection_whose_node_reads_no_further_is_closed(fronted: Fronts) -> None:
    async def early(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(OK)
        await never()

    app, _ = await fronted(early)
    length = b"12000000"
    headers = [(b"host", b"h"), (b"content-length", length)]
    answer = await ask(app, "POST", headers=headers, body=[b"x" * int(length)])
    assert answer.body == b"ok"
    await eventually(lambda: is_empty(app), 3)


async def test_a_websocket_whose_node_does_not_read_is_closed(fronted: Fronts) -> None:
    app, _ = await fronted(answering_socket(then=never), timeout=QUICK)

    def pour() -> Message:
        pool = app.upstream.pool
        if any(connection.unsent() for connection in pool._open if not connection.closed):
            return {"type": "websocket.disconnect", "code": 1000}
        return {"type": "websocket.receive", "bytes": b"x" * 20_000}

    await asyncio.wait_for(chat(app, pour), 10)
    await eventually(lambda: is_empty(app), 3)


@pytest.mark.parametrize(
    "script",
    [
        answering_socket(b"sec-websocket-accept: bm9wZQ=="),
        answering_socket(b"sec-websocket-protocol: never.asked"),
    ],
    ids=["accept", "subprotocol"],
)
async def test_a_wrong_handshake_is_answered_502(fronted: Fronts, script: Script) -> None:
    app, raw = await fronted(nodes=[[script], [script]])
    lines = (
        "GET / HTTP/1.1",
        "host: a.test",
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    async with serving(app, ws="websockets-sansio", lifespan="off") as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write("\r\n".join((*lines, "", "")).encode())
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"x-apisix-upstream-status: 502, 502\r\n" in answer
    assert [type(done.error) for done in app.upstream.finishes] == [UpstreamProtocolError] * 2
    await eventually(lambda: all(peer.gone.is_set() for one in app.raws for peer in one.peers))
    assert is_empty(app)
    assert len(raw.peers) == 1


async def test_many_empty_messages_pause_the_node(fronted: Fronts) -> None:
    sent = 0

    async def pour(peer: Peer) -> None:
        nonlocal sent
        while True:
            await peer.send(b"\x81\x00" * 10_000)
            sent += 1

    app, _ = await fronted(answering_socket(then=pour))
    gate = asyncio.Event()

    async def slow(message: Message) -> None:
        if message["type"] == "websocket.send":
            await gate.wait()

    messages: list[Message] = [{"type": "websocket.connect"}]

    async def receive() -> Message:
        if not messages:
            await never()
        return messages.pop()

    scope = {"type": "websocket", "path": "/", "raw_path": b"/", "headers": [(b"host", b"h")]}
    task = asyncio.create_task(app(scope, receive, slow))
    await eventually(lambda: sent > 0)
    before = -1
    while sent != before:
        before = sent
        await asyncio.sleep(0.2)
    connection = next(iter(app.upstream.pool._open))
    assert connection._is_paused
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_empty_fragments_take_no_room(fronted: Fronts) -> None:
    done = asyncio.Event()

    async def pour(peer: Peer) -> None:
        await peer.send(b"\x01\x01a" + b"\x00\x00" * 200_000 + b"\x80\x01b")
        done.set()

    app, _ = await fronted(answering_socket(then=pour))
    sent: list[Message] = []
    task = asyncio.create_task(chat(app, lambda: None, sent))
    await eventually(lambda: len(sent) == 2)
    assert sent[1] == {"type": "websocket.send", "text": "ab"}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_node_that_does_not_read_gets_no_pongs(fronted: Fronts) -> None:
    async def ping(peer: Peer) -> None:
        while True:
            await peer.send((b"\x89\x7d" + b"p" * 125) * 500)

    app, _ = await fronted(answering_socket(then=ping))
    task = asyncio.create_task(chat(app, lambda: None))
    pool = app.upstream.pool
    await eventually(lambda: any(each.write_paused for each in pool._open))
    connection = next(iter(pool._open))
    held = connection.unsent()
    for _ in range(20):
        await asyncio.sleep(0.02)
    assert connection.unsent() <= held
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"


@pytest.mark.parametrize(
    "rest",
    [
        b"0\r\n" + b"".join(b"x-%d: %b\r\n" % (n, b"y" * 1000) for n in range(80)) + b"\r\n",
        b"0\r\nx-a: " + b"y" * 200_000,
        b"1;" + b"e" * 500_000,
    ],
    ids=["many trailers", "a trailer without end", "a chunk extension without end"],
)
async def test_trailers_count_as_much_as_heads(fronted: Fronts, rest: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await asyncio.sleep(0.1)
        await peer.send(rest)

    app, raw = await fronted(script)
    with pytest.raises(UpstreamProtocolError):
        await asyncio.wait_for(ask(app), 5)
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)


async def test_a_long_stream_of_small_chunks_is_no_trailer(fronted: Fronts) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(300):
            for piece in (b"1;" + b"e" * 1000 + b"\r\n", b"a\r\n"):
                await peer.send(piece)
                await asyncio.sleep(0)
        await peer.send(b"0\r\nx-a: 1\r\n\r\n")

    app, _ = await fronted(script)
    assert (await ask(app)).body == b"a" * 301
