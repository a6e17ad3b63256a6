"""Connections of one endpoint: reuse, bounds, ages, waiting, retirement."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from pingsix_asgi.errors import ClientGone, UpstreamTimeout
from pingsix_asgi.proxy.pool import Pool
from pingsix_asgi.upstream.node import Keepalive, PoolKey, Timeouts
from support.processes import free_port
from support.raw_upstream import OK, Fronts, OneRoute, Peer, answering, ask, eventually


@pytest.fixture
async def fronted() -> AsyncIterator[Fronts]:
    async with Fronts() as fronts:
        yield fronts


class Gate:
    """A script that answers when told to."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.request()
            await self.open.wait()
            await peer.send(OK)


async def many(app: OneRoute, count: int) -> list[asyncio.Task[object]]:
    return [asyncio.create_task(ask(app)) for _ in range(count)]


async def test_the_connection_used_last_is_used_first(fronted: Fronts) -> None:
    gate = Gate()
    app, raw = await fronted(gate)
    requests = await many(app, 3)
    await eventually(lambda: len(raw.heads) == 3)
    gate.open.set()
    await asyncio.gather(*requests)
    assert app.upstream.pool.statistics() == (3, 0, 0, 0)
    for _ in range(6):
        await ask(app)
    assert sorted(len(peer.heads) for peer in raw.peers) == [1, 1, 7]


async def test_idle_connections_are_bounded(fronted: Fronts) -> None:
    gate = Gate()
    app, raw = await fronted(gate, keepalive=Keepalive(size=2))
    requests = await many(app, 5)
    await eventually(lambda: len(raw.heads) == 5)
    gate.open.set()
    await asyncio.gather(*requests)
    await eventually(lambda: app.upstream.pool.statistics() == (2, 0, 0, 0))
    oldest_first = [True] * 3 + [False] * 2
    await eventually(lambda: [peer.gone.is_set() for peer in raw.peers] == oldest_first)


async def test_idle_connections_grow_old(fronted: Fronts) -> None:
    app, raw = await fronted(answering(OK), keepalive=Keepalive(idle_timeout_s=0.1))
    await ask(app)
    assert app.upstream.pool.statistics().idle == 1
    await eventually(lambda: app.upstream.pool.statistics() == (0, 0, 0, 0))
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)
    await ask(app)
    assert len(raw.peers) == 2


async def test_a_connection_serves_so_many_requests(fronted: Fronts) -> None:
    app, raw = await fronted(answering(OK), keepalive=Keepalive(max_requests=3))
    for _ in range(7):
        await ask(app)
    assert [len(peer.heads) for peer in raw.peers] == [3, 3, 1]


async def test_a_bounded_pool_makes_requests_wait(fronted: Fronts) -> None:
    gate = Gate()
    app, raw = await fronted(gate, max_connections=2)
    requests = await many(app, 6)
    await eventually(lambda: len(raw.heads) == 2)
    assert app.upstream.pool.statistics() == (0, 2, 0, 4)
    gate.open.set()
    await asyncio.gather(*requests)
    assert len(raw.peers) == 2
    assert app.upstream.pool.statistics() == (2, 0, 0, 0)


async def test_waiting_has_a_deadline(fronted: Fronts) -> None:
    gate = Gate()
    app, raw = await fronted(gate, max_connections=1, timeout=Timeouts(0.3, 5, 5))
    first = asyncio.create_task(ask(app))
    await eventually(lambda: len(raw.heads) == 1)
    assert (await ask(app)).status == 504
    error = app.upstream.finishes[-1].error
    assert isinstance(error, UpstreamTimeout)
    assert error.step == "connect"
    gate.open.set()
    assert (await first).body == b"ok"
    assert (await ask(app)).body == b"ok"


async def test_a_client_that_leaves_while_waiting_leaves_its_place(fronted: Fronts) -> None:
    gate = Gate()
    app, raw = await fronted(gate, max_connections=1)
    first = asyncio.create_task(ask(app))
    await eventually(lambda: len(raw.heads) == 1)
    leaves = asyncio.Event()
    second = asyncio.create_task(ask(app, leaves=leaves))
    third = asyncio.create_task(ask(app))
    await eventually(lambda: app.upstream.pool.statistics().waiting == 2)
    leaves.set()
    await second
    assert isinstance(app.contexts[1].error, ClientGone)
    gate.open.set()
    assert (await first).body == (await third).body == b"ok"
    assert len(raw.heads) == 2


async def test_a_lost_connection_makes_room(fronted: Fronts) -> None:
    async def dying(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.05)
        peer.reset()

    app, raw = await fronted(dying, answering(OK), max_connections=1)
    first, second = await many(app, 2)
    await first
    await second
    assert len(raw.peers) == 2
    assert app.upstream.pool.statistics() == (1, 0, 0, 0)


async def test_a_connection_nobody_waits_for_any_more_is_kept(fronted: Fronts) -> None:
    app, raw = await fronted(answering(OK))
    request = asyncio.create_task(ask(app))
    while not app.upstream.pool.statistics().connecting:
        await asyncio.sleep(0)
    request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await request
    await eventually(lambda: app.upstream.pool.statistics() == (1, 0, 0, 0))
    assert (await ask(app)).body == b"ok"
    assert len(raw.peers) == 1


async def test_retiring_closes_idle_now_and_busy_later(fronted: Fronts) -> None:
    gate = Gate()
    app, raw = await fronted(gate)
    pool = app.upstream.pool
    requests = await many(app, 2)
    await eventually(lambda: len(raw.heads) == 2)
    gate.open.set()
    await asyncio.gather(*requests)
    gate.open.clear()
    third = asyncio.create_task(ask(app))
    await eventually(lambda: len(raw.heads) == 3)
    pool.retire()
    await eventually(lambda: pool.statistics() == (0, 1, 0, 0))
    assert "retired" in repr(pool)
    gate.open.set()
    assert (await third).body == b"ok"
    await eventually(lambda: pool.statistics() == (0, 0, 0, 0))
    assert (await ask(app)).body == b"ok", "who still has the pool can use it"
    await eventually(lambda: pool.statistics() == (0, 0, 0, 0))


async def test_closing_fails_who_waits() -> None:
    gate = Gate()
    async with Fronts() as fronted:
        app, raw = await fronted(gate, max_connections=1)
        requests = await many(app, 2)
        await eventually(lambda: len(raw.heads) == 1)
        await app.upstream.pool.aclose()
        answers = await asyncio.gather(*requests)
        assert {answer.status for answer in answers} == {502}  # type: ignore[attr-defined]


async def test_closing_while_connecting(fronted: Fronts) -> None:
    app, _ = await fronted(answering(OK))
    request = asyncio.create_task(ask(app))
    while not app.upstream.pool.statistics().connecting:
        await asyncio.sleep(0)
    await app.upstream.pool.aclose()
    assert (await request).status == 502


async def test_names_are_resolved(fronted: Fronts) -> None:
    app, raw = await fronted(answering(OK))
    app.upstream.nodes[0].pool = Pool(PoolKey("localhost", raw.port))
    assert (await ask(app)).body == b"ok"
    app.upstream.nodes[0].pool = Pool(PoolKey("does-not-exist.invalid", raw.port))
    assert (await ask(app)).status == 502
    app.upstream.nodes[0].pool = Pool(PoolKey("x" * 80 + ".test", free_port()))
    assert (await ask(app)).status == 502


async def test_a_pool_tells_what_it_holds(fronted: Fronts) -> None:
    app, raw = await fronted(answering(OK))
    await ask(app)
    assert repr(app.upstream.pool) == (
        f"Pool(http://127.0.0.1:{raw.port} idle=1 busy=0 connecting=0 waiting=0)"
    )
    assert "1 requests" in repr(app.upstream.pool.take(asyncio.get_running_loop()))


def test_a_pool_moves_to_the_loop_that_uses_it() -> None:
    """As an app under a test client that runs each request in a loop of its own."""
    port = free_port()
    from support.raw_upstream import ListedUpstream

    app = OneRoute(ListedUpstream(port))

    async def once() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK.replace(b"content-length", b"connection: close\r\ncontent-length"))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", port)
        async with server:
            body = (await ask(app)).body
            await asyncio.sleep(0.01)
            return body

    for _ in range(3):
        assert asyncio.run(once()) == b"ok"


async def test_a_request_that_went_elsewhere_gets_no_connection_here(fronted: Fronts) -> None:
    gate = Gate()
    slow = Gate()
    app, raw = await fronted(nodes=[[gate], [slow]], max_connections=1, timeout=Timeouts(0.3, 5, 5))
    first = asyncio.create_task(ask(app))
    await eventually(lambda: len(raw.heads) == 1)
    second = asyncio.create_task(ask(app))
    await eventually(lambda: len(app.raws[1].heads) == 1)
    gate.open.set()
    assert (await first).body == b"ok"
    assert app.upstream.pool.statistics() == (1, 0, 0, 0)
    assert not second.done()
    slow.open.set()
    assert (await second).ctx.upstream.statuses == [504, 200]
