"""WebSocket through uvicorn, the gateway and a real server of the websockets library."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from pingsix_asgi.errors import UpstreamProtocolError, UpstreamTimeout
from pingsix_asgi.types import Message
from pingsix_asgi.upstream.node import Timeouts
from support.raw_upstream import Fronts, ListedUpstream, OneRoute, Peer, answering, ask, eventually
from support.servers import serving

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Handler = Callable[[ServerConnection], Awaitable[None]]


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@contextlib.asynccontextmanager
async def through(
    handler: Handler, *, timeout: Timeouts | None = None, **options: Any
) -> AsyncIterator[tuple[str, OneRoute]]:
    """Run a WebSocket server and a gateway in front of it; give the gateway's address."""
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        upstream = ListedUpstream(port, timeout=timeout)
        app = OneRoute(upstream)
        async with serving(app, ws="websockets-sansio", lifespan="off") as served:
            yield f"ws://127.0.0.1:{served.port}/chat?x=1", app
        await upstream.aclose()


@pytest.fixture
async def fronted() -> AsyncIterator[Fronts]:
    async with Fronts() as fronts:
        yield fronts


async def closed_with(client: ClientConnection) -> tuple[int, str]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.wait_for(client.recv(), 5)
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""


async def test_messages_of_both_kinds() -> None:
    async with through(echo) as (url, app), connect(url) as client:
        for message in ("hello", b"\x00\xff", "", "é" * 1000, b"x" * 900_000):
            await client.send(message)
            assert await client.recv() == message
        assert app.contexts[0].status == 101
        assert app.contexts[0].upstream.status == 101


async def test_the_handshake_is_the_clients_but_for_its_own_hop() -> None:
    seen: list[Request] = []

    async def note(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request)

    async with (
        through(note) as (url, _),
        connect(url, additional_headers={"X-A": "1", "Cookie": "a=b"}, origin="http://o.test"),  # type: ignore[arg-type]
    ):
        await eventually(lambda: bool(seen))
    headers = seen[0].headers
    assert seen[0].path == "/chat?x=1"
    assert (headers["x-a"], headers["cookie"], headers["origin"]) == ("1", "a=b", "http://o.test")
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["host"].startswith("127.0.0.1:")
    assert len(headers.get_all("sec-websocket-key")) == 1
    assert "sec-websocket-extensions" not in headers


async def test_subprotocols() -> None:
    chosen = [Subprotocol("b")]
    offered = [Subprotocol("a"), Subprotocol("b")]
    async with (
        through(echo, subprotocols=chosen) as (url, _),
        connect(url, subprotocols=offered) as client,
    ):
        assert client.subprotocol == "b"
        await client.send("x")
        assert await client.recv() == "x"


async def test_headers_of_the_acceptance() -> None:
    def add(connection: ServerConnection, request: Request, response: Response) -> Response:
        response.headers["X-From-Node"] = "1"
        return response

    async with through(echo, process_response=add) as (url, _), connect(url) as client:
        assert client.response is not None
        assert client.response.headers["x-from-node"] == "1"
        assert len(client.response.headers.get_all("sec-websocket-accept")) == 1


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (4001, "own"), (1013, "")])
async def test_the_node_closes(code: int, reason: str) -> None:
    async def closing(connection: ServerConnection) -> None:
        await connection.send("last words")
        await connection.close(code, reason)

    async with through(closing) as (url, app), connect(url) as client:
        assert await client.recv() == "last words"
        assert await closed_with(client) == (code, reason)
    assert [done.error for done in app.upstream.finishes] == [None]
    assert app.upstream.pool.statistics().busy == 0


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "bye"), (4321, "own")])
async def test_the_client_closes(code: int, reason: str) -> None:
    closes: list[tuple[int | None, str | None]] = []

    async def noting(connection: ServerConnection) -> None:
        await connection.wait_closed()
        closes.append((connection.close_code, connection.close_reason))

    async with through(noting) as (url, app), connect(url) as client:
        await client.close(code, reason)
        await eventually(lambda: bool(closes))
    assert closes == [(code, reason)]
    await eventually(lambda: app.upstream.pool.statistics().busy == 0)


async def test_the_client_vanishes() -> None:
    closes: list[int | None] = []

    async def noting(connection: ServerConnection) -> None:
        await connection.wait_closed()
        closes.append(connection.close_code)

    async with through(noting) as (url, _):
        client = await connect(url)
        client.transport.abort()
        await eventually(lambda: bool(closes))
    assert closes[0] in (1005, 1006)


async def test_the_node_vanishes() -> None:
    async def vanishing(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with through(vanishing) as (url, app), connect(url) as client:
        await client.send("x")
        assert (await closed_with(client))[0] == 1011
    assert app.upstream.nodes[0].active == 0


async def test_a_silent_node_is_given_up() -> None:
    async with (
        through(echo, timeout=Timeouts(5, 5, 0.3), ping_interval=None) as (url, app),
        connect(url) as client,
    ):
        assert (await closed_with(client))[0] == 1011
    assert isinstance(app.upstream.finishes[0].error, UpstreamTimeout)


async def test_activity_of_either_side_keeps_it_open() -> None:
    async def quiet(connection: ServerConnection) -> None:
        async for _ in connection:
            pass

    async with (
        through(quiet, timeout=Timeouts(5, 5, 0.5), ping_interval=None) as (url, _),
        connect(url) as client,
    ):
        for _ in range(10):
            await client.send("still here")
            await asyncio.sleep(0.1)
        assert client.close_code is None


async def test_pings_of_the_node_are_answered() -> None:
    answered = asyncio.Event()

    async def pinging(connection: ServerConnection) -> None:
        await (await connection.ping())
        answered.set()
        await connection.wait_closed()

    async with through(pinging) as (url, _), connect(url):
        await asyncio.wait_for(answered.wait(), 5)


async def test_pings_of_the_client_are_answered() -> None:
    async with through(echo) as (url, _), connect(url) as client:
        await asyncio.wait_for(await client.ping(), 5)


async def test_fragments_become_one_message() -> None:
    async def fragmenting(connection: ServerConnection) -> None:
        await connection.send(iter(["a", "b", "c"]))
        await connection.send(iter([b"1", b"2"]))
        await connection.wait_closed()

    async with through(fragmenting) as (url, _), connect(url) as client:
        assert await client.recv() == "abc"
        assert await client.recv() == b"12"


async def test_a_slow_client_slows_the_node_down() -> None:
    sent = 0

    async def pouring(connection: ServerConnection) -> None:
        nonlocal sent
        for _ in range(1000):
            await connection.send(b"x" * 65536)
            sent += 1

    async with through(pouring) as (url, _), connect(url, max_queue=1, compression=None) as client:
        before = -1
        while sent != before or not sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 500
        for _ in range(1000):
            await client.recv()
    assert sent == 1000


async def test_a_slow_node_slows_the_client_down() -> None:
    go = asyncio.Event()
    got = 0

    async def sleeping(connection: ServerConnection) -> None:
        nonlocal got
        await go.wait()
        async for _ in connection:
            got += 1

    async with through(sleeping, max_queue=1) as (url, _), connect(url, compression=None) as client:
        sent = 0

        async def pour() -> None:
            nonlocal sent
            for _ in range(1000):
                await client.send(b"x" * 65536)
                sent += 1

        pouring = asyncio.create_task(pour())
        before = -1
        while sent != before or not sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 700
        go.set()
        await pouring
        await eventually(lambda: got == 1000)


async def test_a_refusal_is_given_back() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(403, "not you\n")
        response.headers["X-Why"] = "because"
        return response

    async with through(echo, process_request=refuse) as (url, app):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url)
    response = refused.value.response
    assert (response.status_code, response.body) == (403, b"not you\n")
    assert response.headers["x-why"] == "because"
    assert app.contexts[0].status == 403


async def _in_memory(app: OneRoute, **scope: Any) -> list[Message]:
    """Ask for a WebSocket of a server that has no extension for refusals."""
    incoming: list[Message] = [{"type": "websocket.connect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        if incoming:
            return incoming.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    full = {
        "type": "websocket",
        "path": "/",
        "raw_path": b"/",
        "headers": [(b"host", b"h"), (b"sec-websocket-key", b"k"), (b"upgrade", b"websocket")],
        "subprotocols": [],
        **scope,
    }
    await app(full, receive, send)
    return sent


async def test_a_refusal_without_the_extension_is_a_close(fronted: Fronts) -> None:
    app, _ = await fronted(answering(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"))
    assert [message["type"] for message in await _in_memory(app)] == ["websocket.close"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-accept: bm90IHRoZSByaWdodCBvbmU=\r\n\r\n",
        b"HTTP/1.1 101 S\r\nsec-websocket-accept: x\r\n\r\n",
        b"garbage\r\n\r\n",
    ],
    ids=["no accept", "wrong accept", "no upgrade", "garbage"],
)
async def test_a_broken_handshake_is_refused(fronted: Fronts, answer: bytes) -> None:
    app, raw = await fronted(answering(answer))
    with contextlib.suppress(UpstreamProtocolError):
        sent = await _in_memory(app)
        assert [message["type"] for message in sent] == ["websocket.close"]
    assert isinstance(app.contexts[0].error, UpstreamProtocolError)
    assert app.upstream.nodes[0].active == 0
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)


async def test_bad_subprotocols_never_reach_the_node(fronted: Fronts) -> None:
    app, raw = await fronted(answering(b""))
    await _in_memory(app, subprotocols=["a\r\nx: y"])
    assert not raw.peers


async def test_another_node_is_tried(fronted: Fronts) -> None:
    async def dying(peer: Peer) -> None:
        await peer.request()
        peer.close()

    refusing = answering(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")
    app, _ = await fronted(nodes=[[dying], [refusing]])
    await _in_memory(app)
    assert app.contexts[0].upstream.statuses == [502, 403]


async def test_an_upgrade_that_is_no_websocket_is_not_passed_on(fronted: Fronts) -> None:
    app, raw = await fronted(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
    headers = [
        (b"host", b"h"),
        (b"connection", b"Upgrade, HTTP2-Settings"),
        (b"upgrade", b"h2c"),
        (b"http2-settings", b"AAMAAABkAAQAAP__"),
    ]
    assert (await ask(app, headers=headers)).status == 200
    assert b"upgrade" not in raw.heads[0].lower()
    assert b"http2-settings" not in raw.heads[0].lower()
