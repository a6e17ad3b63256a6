"""The basic cases under each server that can host the gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from support.raw_upstream import Peer, RawUpstream, eventually, raw_upstream
from support.servers import HOSTS, HostName, hosted

APP = """
import os, sys
sys.path[:0] = {path!r}
from support.raw_upstream import ListedUpstream, OneRoute
from pingsix_asgi.upstream.node import Timeouts

class App:
    # the upstream's port is the first segment of the path
    def __init__(self):
        self.routes = {{}}

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({{"type": "lifespan.startup.complete"}})
            await send({{"type": "lifespan.shutdown.complete"}})
            return
        port = int(scope["path"].split("/")[1])
        if port not in self.routes:
            self.routes[port] = OneRoute(ListedUpstream(port, timeout=Timeouts(2, 5, 5)))
        await self.routes[port](scope, receive, send)

app = App()
"""
ROOT = Path(__file__).parents[2]
BIG = bytes(range(256)) * 16384


@pytest.fixture(scope="module", params=HOSTS)
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of a gateway in a process of its own."""
    host: HostName = request.param
    folder = tmp_path_factory.mktemp(host)
    (folder / "front_app.py").write_text(APP.format(path=[str(ROOT), str(ROOT / "tests")]))
    with hosted(host, "front_app:app", folder) as (_, served):
        yield served.port


async def node(peer: Peer) -> None:
    """Answer by the path."""
    while True:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        peer.heads.append(head)
        method, target, _ = head.split(b" ", 2)
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = b""
        if b"content-length" in fields:
            body = await peer.reader.readexactly(int(fields[b"content-length"]))
        elif fields.get(b"transfer-encoding") == b"chunked":
            while (size := int(await peer.reader.readuntil(b"\r\n"), 16)) > 0:
                body += (await peer.reader.readexactly(size + 2))[:-2]
            await peer.reader.readexactly(2)
        match target.rsplit(b"/", 1)[1]:
            case b"echo":
                answer = b"content-length: %d\r\n\r\n%b" % (len(body), body)
            case b"empty":
                answer = b"content-length: 0\r\n\r\n"
            case b"big":
                answer = b"content-length: %d\r\n\r\n%b" % (len(BIG), BIG)
            case b"chunked":
                chunks = [BIG[at : at + 70_000] for at in range(0, len(BIG), 70_000)]
                answer = b"transfer-encoding: chunked\r\n\r\n" + b"".join(
                    b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""]
                )
            case b"head":
                answer = b"content-length: 12345\r\n\r\n"
            case b"half":
                await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BIG))
                await peer.send(BIG[:100_000])
                await asyncio.sleep(0.1)
                peer.close()
                return
            case b"garbage":
                await peer.send(b"nonsense\r\n\r\n")
                return
            case _:
                await peer.closed()
                return
        status = b"204 No Content" if target.endswith(b"/empty") else b"200 OK"
        await peer.send(b"HTTP/1.1 " + status + b"\r\nx-method: " + method + b"\r\n" + answer)


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with raw_upstream(node) as raw:
        yield raw


class Browser:
    """A client connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(
        self, method: str, path: str, *fields: str, body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway.test", *fields]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *rest = head[:-4].split("\r\n")
        headers = {name.lower(): value for name, value in (x.split(": ", 1) for x in rest)}
        status = int(first.split(" ")[1])
        if method == "HEAD" or status == 204:
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            received = b""
            while (size := int(await self.reader.readuntil(b"\r\n"), 16)) > 0:
                received += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
            return status, headers, received
        return status, headers, await self.reader.readexactly(int(headers["content-length"]))


@contextlib.asynccontextmanager
async def browsing(port: int) -> AsyncIterator[Browser]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Browser(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_requests_on_one_connection(front: int, upstream: RawUpstream) -> None:
    at = f"/{upstream.port}"
    async with browsing(front) as browser:
        for _ in range(2):
            status, headers, body = await browser.ask(
                "POST", f"{at}/echo", "Content-Length: 5", body=b"hello"
            )
            assert (status, headers["x-method"], body) == (200, "POST", b"hello")
            chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            answer = await browser.ask(
                "PUT", f"{at}/echo", "Transfer-Encoding: chunked", body=chunks
            )
            assert answer[2] == b"abcde"
            status, headers, _ = await browser.ask("GET", f"{at}/empty")
            assert (status, "transfer-encoding" in headers) == (204, False)
            status, headers, _ = await browser.ask("HEAD", f"{at}/head")
            assert (status, headers.get("content-length")) == (200, "12345")
            assert (await browser.ask("GET", f"{at}/chunked"))[2] == BIG
            assert (await browser.ask("GET", f"{at}/big"))[2] == BIG
    assert len(upstream.peers) == 1
    assert b"\r\nhost: gateway.test\r\n" in upstream.heads[0]
    assert b"\r\nx-forwarded-for: 127.0.0.1\r\n" in upstream.heads[0]
    assert b"\r\nx-forwarded-port: %d\r\n" % front in upstream.heads[0]


async def test_large_uploads(front: int, upstream: RawUpstream) -> None:
    async with browsing(front) as browser:
        length = f"Content-Length: {len(BIG)}"
        answer = await browser.ask("POST", f"/{upstream.port}/echo", length, body=BIG)
        assert answer[2] == BIG


async def test_expectations(front: int, upstream: RawUpstream) -> None:
    async with browsing(front) as browser:
        browser.writer.write(
            f"POST /{upstream.port}/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        interim = await asyncio.wait_for(browser.reader.readuntil(b"\r\n\r\n"), 5)
        assert interim.startswith(b"HTTP/1.1 100")
        browser.writer.write(b"hi")
        head = await browser.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert await browser.reader.readexactly(2) == b"hi"


async def test_an_answer_that_breaks_off_is_seen_as_such(front: int, upstream: RawUpstream) -> None:
    async with browsing(front) as browser:
        with pytest.raises((asyncio.IncompleteReadError, OSError)):
            await browser.ask("GET", f"/{upstream.port}/half")


async def test_a_broken_answer_is_a_502(front: int, upstream: RawUpstream) -> None:
    async with browsing(front) as browser:
        status, _, body = await browser.ask("GET", f"/{upstream.port}/garbage")
        assert status == 502
        assert b"502 Bad Gateway" in body


async def test_a_client_that_leaves(front: int, upstream: RawUpstream) -> None:
    async with browsing(front) as browser:
        browser.writer.write(f"GET /{upstream.port}/never HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        await eventually(lambda: bool(upstream.heads))
    await asyncio.wait_for(upstream.peers[0].gone.wait(), 5)


async def test_websocket(front: int) -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)
            if message == "end":
                await connection.close(4000, "as asked")

    async with serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{front}/{port}/chat") as client:
            for message in ("text", b"bytes", "end"):
                await client.send(message)
                assert await client.recv() == message
            await asyncio.wait_for(client.wait_closed(), 5)
            assert client.close_code == 4000
