"""Large and slow bodies, both ways: backpressure, early answers, 100-continue."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from pingsix_asgi.errors import UpstreamError
from pingsix_asgi.proxy import outgoing
from pingsix_asgi.types import Message, Scope
from pingsix_asgi.upstream.node import Timeouts
from support.raw_upstream import OK, Fronts, OneRoute, Peer, ask, eventually

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
MEGABYTE = 1024 * 1024
TOTAL = 50 * MEGABYTE
BUFFERED = 16 * MEGABYTE
"""More than the kernel's socket buffers and ours hold together, much less than a body."""


@pytest.fixture
async def fronted() -> AsyncIterator[Fronts]:
    async with Fronts() as fronts:
        yield fronts


def scope(method: str = "GET", *fields: tuple[bytes, bytes]) -> Scope:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": "/",
        "raw_path": b"/",
        "headers": list(fields),
    }


class Client:
    """A client in memory that takes its time."""

    def __init__(self, body: list[bytes] | None = None) -> None:
        self.may_read = asyncio.Event()
        self.status = 0
        self.digest = hashlib.sha256()
        self.received = 0
        self.largest = 0
        self.ended = False
        self._body = body or []
        self.given = 0

    async def receive(self) -> Message:
        if self.given < len(self._body):
            piece = self._body[self.given]
            self.given += 1
            more = self.given < len(self._body)
            return {"type": "http.request", "body": piece, "more_body": more}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        await self.may_read.wait()
        body = message["body"]
        self.digest.update(body)
        self.received += len(body)
        self.largest = max(self.largest, len(body))
        self.ended = not message["more_body"]


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
async def test_50_megabytes_down_at_the_pace_of_the_client(fronted: Fronts, chunked: bool) -> None:
    written = 0
    piece = bytes(range(256)) * 4096

    async def pouring(peer: Peer) -> None:
        nonlocal written
        await peer.request()
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % TOTAL
        await peer.send(CHUNKED if chunked else head)
        while written < TOTAL:
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            written += len(piece)
        if chunked:
            await peer.send(b"0\r\n\r\n")

    app, _ = await fronted(pouring)
    client = Client()
    request = asyncio.create_task(app(scope(), client.receive, client.send))
    await _stands_still(lambda: written)
    assert 0 < written < BUFFERED
    assert not request.done()
    client.may_read.set()
    await request
    assert (client.status, client.received, client.ended) == (200, TOTAL, True)
    assert client.digest.digest() == hashlib.sha256(piece * (TOTAL // len(piece))).digest()
    assert client.largest < 2 * MEGABYTE
    assert app.upstream.pool.statistics() == (1, 0, 0, 0)


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
async def test_50_megabytes_up_at_the_pace_of_the_node(fronted: Fronts, chunked: bool) -> None:
    may_read = asyncio.Event()
    digest = hashlib.sha256()
    size = 0

    async def drinking(peer: Peer) -> None:
        nonlocal size
        await peer.reader.readuntil(b"\r\n\r\n")
        await may_read.wait()
        while size < TOTAL:
            if chunked:
                length = int(await peer.reader.readuntil(b"\r\n"), 16)
                data = await peer.reader.readexactly(length)
                assert await peer.reader.readexactly(2) == b"\r\n"
            else:
                data = await peer.reader.read(65536)
            digest.update(data)
            size += len(data)
        if chunked:
            assert await peer.reader.readexactly(5) == b"0\r\n\r\n"
        await peer.send(OK)

    app, _ = await fronted(drinking)
    piece = bytes(range(256)) * 256
    client = Client([piece] * (TOTAL // len(piece)))
    client.may_read.set()
    length = (b"content-length", b"%d" % TOTAL)
    fields = (b"transfer-encoding", b"chunked") if chunked else length
    request = asyncio.create_task(app(scope("POST", fields), client.receive, client.send))
    await _stands_still(lambda: client.given)
    assert 0 < client.given * len(piece) < BUFFERED
    may_read.set()
    await request
    assert (client.status, size) == (200, TOTAL)
    assert digest.digest() == hashlib.sha256(piece * (TOTAL // len(piece))).digest()
    assert app.upstream.pool.statistics() == (1, 0, 0, 0)


async def _stands_still(count: object) -> None:
    """Wait until a count has moved and then stays the same."""
    assert callable(count)
    before = -1
    while (now := count()) != before or not now:
        before = now
        await asyncio.sleep(0.1)


async def test_streams_are_passed_on_as_they_come(fronted: Fronts) -> None:
    step = asyncio.Event()

    async def events(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for number in range(3):
            await peer.send(b"2\r\n#%d\r\n" % number)
            await step.wait()
            step.clear()
        await peer.send(b"0\r\n\r\n")

    app, _ = await fronted(events)
    bodies: list[bytes] = []

    async def send(message: Message) -> None:
        if body := message.get("body"):
            bodies.append(body)
            step.set()

    await app(scope(), asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert bodies == [b"#0", b"#1", b"#2"]


async def test_the_head_of_a_stream_does_not_wait_for_its_body(fronted: Fronts) -> None:
    started = asyncio.Event()

    async def late(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await started.wait()
        await peer.send(b"2\r\nhi\r\n0\r\n\r\n")

    app, _ = await fronted(late)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        started.set()

    await app(scope(), asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert b"".join(message.get("body", b"") for message in sent) == b"hi"


async def test_a_slow_client_is_no_read_timeout(fronted: Fronts) -> None:
    async def pouring(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (20 * MEGABYTE))
        for _ in range(20):
            await peer.send(b"x" * MEGABYTE)

    app, _ = await fronted(pouring, timeout=Timeouts(5, 5, 0.2))
    client = Client()
    request = asyncio.create_task(app(scope(), client.receive, client.send))
    await asyncio.sleep(0.6)
    client.may_read.set()
    await request
    assert client.received == 20 * MEGABYTE


async def test_a_slow_upload_is_no_timeout(fronted: Fronts) -> None:
    async def drinking(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)

    app, _ = await fronted(drinking, timeout=Timeouts(5, 0.2, 0.2))
    messages = [b"a", b"b", b"c"]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        await asyncio.sleep(0.25)
        body = messages.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(messages)}

    client = Client()
    client.may_read.set()
    await app(scope("POST", (b"content-length", b"3")), receive, client.send)
    assert client.status == 200


async def test_an_early_answer_ends_the_upload(fronted: Fronts) -> None:
    async def refusing(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nno!")

    app, raw = await fronted(refusing)
    given = 0

    async def receive() -> Message:
        nonlocal given
        given += 1
        if given > 1:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"x", "more_body": True}

    client = Client()
    client.may_read.set()
    fields = (b"transfer-encoding", b"chunked")
    began = monotonic()
    await app(scope("POST", fields), receive, client.send)
    assert (client.status, client.received) == (413, 3)
    assert monotonic() - began < 4
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)
    assert app.upstream.pool.statistics() == (0, 0, 0, 0)


async def test_both_ways_at_once(fronted: Fronts) -> None:
    async def echoing(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(CHUNKED)
        while (line := await peer.reader.readuntil(b"\r\n")) != b"0\r\n":
            data = await peer.reader.readexactly(int(line, 16) + 2)
            await peer.send(line + data)
        await peer.send(b"0\r\n\r\n")

    app, _ = await fronted(echoing)
    turn = asyncio.Queue[bytes]()
    turn.put_nowait(b"1")
    received: list[bytes] = []

    async def receive() -> Message:
        body = await turn.get()
        return {"type": "http.request", "body": body, "more_body": body != b"5"}

    async def send(message: Message) -> None:
        if body := message.get("body"):
            received.append(body)
            if body != b"5":
                turn.put_nowait(b"%d" % (int(body) + 1))

    await app(scope("POST", (b"transfer-encoding", b"chunked")), receive, send)
    assert received == [b"1", b"2", b"3", b"4", b"5"]


EXPECT = (b"expect", b"100-continue")


class Expecting(Client):
    """A client that notes when it was asked for its body."""

    def __init__(self) -> None:
        super().__init__([b"body"])
        self.may_read.set()
        self.asked = asyncio.Event()

    async def receive(self) -> Message:
        self.asked.set()
        return await super().receive()


async def _post_expecting(app: OneRoute) -> Expecting:
    client = Expecting()
    await app(scope("POST", (b"content-length", b"4"), EXPECT), client.receive, client.send)
    return client


async def test_100_continue_comes_from_the_node(
    fronted: Fronts, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, raw = await fronted()
    client = Expecting()

    async def agreeing(peer: Peer) -> None:
        peer.heads.append(await peer.reader.readuntil(b"\r\n\r\n"))
        assert not client.asked.is_set()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.reader.readexactly(4) == b"body"
        await peer.send(OK)

    app, raw = await fronted(agreeing)
    monkeypatch.setattr(outgoing, "CONTINUE_WAIT_S", 3600.0)
    async with asyncio.timeout(60):  # it does not wait for the node's silence to end
        await app(scope("POST", (b"content-length", b"4"), EXPECT), client.receive, client.send)
    assert client.status == 200
    assert b"\r\nexpect: 100-continue\r\n" in raw.heads[0]
    assert app.upstream.pool.statistics().idle == 1


async def test_a_refusal_instead_of_100_continue_spares_the_body(fronted: Fronts) -> None:
    async def refusing(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n")

    app, raw = await fronted(refusing)
    client = await _post_expecting(app)
    assert client.status == 417
    assert not client.asked.is_set()
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)


async def test_a_node_that_never_says_100_gets_the_body_all_the_same(fronted: Fronts) -> None:
    async def old(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)

    app, _ = await fronted(old)
    assert (await _post_expecting(app)).status == 200


async def test_an_expecting_request_is_replayed_if_the_body_was_not_read(fronted: Fronts) -> None:
    async def dying(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.close()

    async def taking(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)

    app, _ = await fronted(nodes=[[dying], [taking]])
    client = Expecting()
    await app(scope("PUT", (b"content-length", b"4"), EXPECT), client.receive, client.send)
    assert client.status == 200


async def test_interim_answers_are_dropped(fronted: Fronts) -> None:
    async def hinting(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)

    app, _ = await fronted(hinting)
    answer = await ask(app)
    assert (answer.status, answer.body) == (200, b"ok")
    assert b"link" not in answer.headers


async def test_closing_the_pool_ends_what_is_under_way(fronted: Fronts) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()

    app, raw = await fronted(silent)
    request = asyncio.create_task(ask(app))
    await eventually(lambda: bool(raw.heads))
    await app.upstream.pool.aclose()
    assert (await request).status == 502
    assert isinstance(app.upstream.finishes[-1].error, UpstreamError)
    assert app.upstream.pool.statistics() == (0, 0, 0, 0)
