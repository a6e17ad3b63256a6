"""What upstreams and clients do to a request, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from pingsix_asgi.errors import (
    ClientGone,
    ConnectError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from pingsix_asgi.proxy.reader import MAX_HEAD_BYTES
from pingsix_asgi.types import Message
from pingsix_asgi.upstream.node import Timeouts
from support.processes import free_port
from support.raw_upstream import (
    OK,
    Fronts,
    ListedUpstream,
    OneRoute,
    Peer,
    answering,
    ask,
    eventually,
)

POST = {"headers": [(b"host", b"h"), (b"content-length", b"2")], "body": [b"hi"]}


@pytest.fixture
async def fronted() -> AsyncIterator[Fronts]:
    async with Fronts() as fronts:
        yield fronts


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A port where connecting neither succeeds nor fails."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def error_of(app: OneRoute) -> UpstreamError | None:
    """Return what the upstream was told; everything must have been given back."""
    assert [node.active for node in app.upstream.nodes] == [0] * len(app.upstream.nodes)
    assert app.upstream.pool.statistics().busy == 0
    assert not app.upstream.pool.ticker.busy
    return app.upstream.finishes[-1].error


async def half(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-")


async def silent(peer: Peer) -> None:
    await peer.request()


async def test_refused() -> None:
    app = OneRoute(ListedUpstream(free_port()))
    answer = await ask(app)
    assert answer.status == 502
    assert isinstance(error_of(app), ConnectError)
    assert answer.ctx.upstream.statuses == [502]
    assert answer.ctx.upstream.status == 0


async def test_connect_timeout(full_backlog: int) -> None:
    app = OneRoute(ListedUpstream(full_backlog), timeout=Timeouts(0.2, 5, 5))
    answer = await ask(app)
    assert answer.status == 504
    error = error_of(app)
    assert isinstance(error, UpstreamTimeout)
    assert error.step == "connect"
    assert answer.ctx.upstream.statuses == [504]


@pytest.mark.parametrize("script", [silent, half], ids=["silent", "half a head"])
async def test_read_timeout(fronted: Fronts, script: Any) -> None:
    app, raw = await fronted(script, timeout=Timeouts(5, 5, 0.2))
    answer = await ask(app)
    assert answer.status == 504
    error = error_of(app)
    assert isinstance(error, UpstreamTimeout)
    assert error.step == "read"
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)


async def test_timeouts_count_inactivity_not_totals(fronted: Fronts) -> None:
    async def slow(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n")
        for _ in range(12):
            await asyncio.sleep(0.1)
            await peer.send(b"x")

    app, _ = await fronted(slow, timeout=Timeouts(5, 5, 0.7))
    assert (await ask(app)).body == b"x" * 12


async def test_read_timeout_in_the_middle_of_a_stream(fronted: Fronts) -> None:
    async def stalling(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")

    app, _ = await fronted(stalling, timeout=Timeouts(5, 5, 0.2))
    with pytest.raises(UpstreamTimeout):
        await ask(app)
    assert isinstance(error_of(app), UpstreamTimeout)
    assert app.contexts[-1].status == 200


async def test_send_timeout(fronted: Fronts) -> None:
    async def deaf(peer: Peer) -> None:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    app, _ = await fronted(deaf, timeout=Timeouts(5, 0.3, 30))
    body = b"x" * 30_000_000
    headers = [(b"content-length", b"%d" % len(body))]
    answer = await ask(app, "POST", headers=headers, body=[body])
    assert answer.status == 504
    error = error_of(app)
    assert isinstance(error, UpstreamTimeout)
    assert error.step == "send"


def closing(data: bytes) -> Any:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        peer.close()

    return script


async def resetting(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def at_once(peer: Peer) -> None:
    peer.reset()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(closing(b""), id="closed"),
        pytest.param(resetting, id="reset"),
        pytest.param(at_once, id="reset before the request"),
        pytest.param(closing(b"HTTP/1.1 200 OK\r\ncontent-"), id="half a head"),
        pytest.param(closing(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"), id="half a body"),
        pytest.param(answering(b"garbage\r\n\r\n"), id="garbage"),
        pytest.param(answering(b"\x16\x03\x01" * 20), id="tls"),
        pytest.param(answering(b"SSH-2.0-OpenSSH_9.2\r\n"), id="ssh"),
        pytest.param(answering(b"HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n"), id="bad status"),
        pytest.param(answering(OK[:-6] + b"content-length: 3\r\n\r\nok"), id="two lengths"),
        pytest.param(answering(b"HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n"), id="obs-fold"),
        pytest.param(answering(b"HTTP/1.1 101 S\r\nupgrade: x\r\n\r\n"), id="101"),
        pytest.param(
            answering(b"HTTP/1.1 200 OK\r\nx: " + b"y" * (MAX_HEAD_BYTES + 99) + b"\r\n\r\n"),
            id="oversized head",
        ),
        pytest.param(
            answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
            id="bad chunk",
        ),
    ],
)
async def test_broken_answers_are_a_502(fronted: Fronts, script: Any) -> None:
    app, raw = await fronted(script)
    answer = await ask(app)
    assert answer.status == 502
    assert isinstance(error_of(app), UpstreamProtocolError | ConnectError)
    assert len(raw.peers) == 1
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param(CHUNKED + b"2\r\nhi\r\n", b"", id="chunked closed"),
        pytest.param(CHUNKED + b"2\r\nhi\r\n", b"zz\r\n", id="chunked garbage"),
        pytest.param(LARGE + b"hi", b"", id="sized closed"),
        pytest.param(CHUNKED + b"2\r\nhi\r\n", None, id="reset"),
    ],
)
async def test_an_answer_that_breaks_off_is_never_ended(
    fronted: Fronts, begin: bytes, end: bytes | None
) -> None:
    go = asyncio.Event()

    async def breaking(peer: Peer) -> None:
        await peer.request()
        await peer.send(begin)
        await go.wait()
        if end is None:
            peer.reset()
        else:
            await peer.send(end)
            peer.close()

    app, _ = await fronted(breaking)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body") == b"hi":
            go.set()

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "raw_path": b"/",
        "path": "/",
        "headers": [],
    }
    with pytest.raises(UpstreamProtocolError):
        await app(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert [message.get("more_body") for message in sent] == [None, True]
    assert isinstance(error_of(app), UpstreamProtocolError)


# -- retries


def answered_by(app: OneRoute) -> list[int]:
    """Return how many requests reached each node."""
    return [len(raw.heads) for raw in app.raws]


async def test_connect_failures_go_to_the_next_node(fronted: Fronts) -> None:
    app, raw = await fronted(answering(OK))
    app.upstream = upstream = ListedUpstream(free_port(), free_port(), raw.port)
    app.target = type(app.target)(upstream)
    answer = await ask(app, "POST", **POST)
    assert answer.body == b"ok"
    assert answer.ctx.upstream.statuses == [502, 502, 200]
    assert answer.ctx.upstream.addr == [node.name for node in upstream.nodes]
    assert [type(done.error) for done in upstream.finishes] == [
        ConnectError,
        ConnectError,
        type(None),
    ]
    assert raw.heads[0].startswith(b"POST")
    await upstream.aclose()


async def test_connect_timeouts_go_to_the_next_node(fronted: Fronts, full_backlog: int) -> None:
    app, raw = await fronted(answering(OK))
    app.upstream = upstream = ListedUpstream(full_backlog, raw.port, timeout=Timeouts(0.1, 5, 5))
    app.target = type(app.target)(upstream)
    assert (await ask(app, "POST", **POST)).ctx.upstream.statuses == [504, 200]
    await upstream.aclose()


@pytest.mark.parametrize("script", [closing(b""), half, resetting, answering(b"garbage\r\n")])
async def test_idempotent_requests_are_sent_again(fronted: Fronts, script: Any) -> None:
    app, _ = await fronted(nodes=[[script], [answering(OK)]], timeout=Timeouts(5, 5, 0.2))
    for method in ("GET", "PUT", "DELETE"):
        assert (await ask(app, method)).body == b"ok"
    assert answered_by(app) == [3, 3]


async def test_a_small_body_is_sent_again(fronted: Fronts) -> None:
    bodies: list[bytes] = []

    async def taking(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        bodies.append(await peer.reader.readexactly(2))
        peer.close()

    app, _ = await fronted(nodes=[[taking], [taking], [answering(OK)]])
    assert (await ask(app, "PUT", **POST)).body == b"ok"
    assert bodies == [b"hi", b"hi"]


@pytest.mark.parametrize("script", [closing(b""), half, silent])
async def test_a_post_is_never_sent_twice(fronted: Fronts, script: Any) -> None:
    app, _ = await fronted(nodes=[[script], [answering(OK)]], timeout=Timeouts(5, 5, 0.2))
    assert (await ask(app, "POST", **POST)).status in (502, 504)
    assert answered_by(app) == [1, 0]


async def test_a_body_that_is_half_gone_is_not_sent_again(fronted: Fronts) -> None:
    app, _ = await fronted(nodes=[[closing(b"")], [answering(OK)]])
    headers = [(b"transfer-encoding", b"chunked")]
    assert (await ask(app, "PUT", headers=headers, body=[b"a", b"b"])).status == 502
    assert answered_by(app) == [1, 0]


async def test_retries_are_bounded(fronted: Fronts) -> None:
    app, _ = await fronted(nodes=[[closing(b"")]] * 3, retries=1)
    assert (await ask(app)).status == 502
    assert answered_by(app) == [1, 1, 0]
    app, _ = await fronted(nodes=[[closing(b"")]] * 2, retries=9)
    assert (await ask(app)).status == 502
    assert answered_by(app) == [1, 1]


async def test_no_retry_after_retry_timeout(fronted: Fronts) -> None:
    app, _ = await fronted(
        nodes=[[silent], [answering(OK)]], timeout=Timeouts(5, 5, 0.2), retry_timeout=0.1
    )
    assert (await ask(app)).status == 502
    assert answered_by(app) == [1, 0]


async def test_an_answer_is_never_retried(fronted: Fronts) -> None:
    failing = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
    app, _ = await fronted(nodes=[[answering(failing)], [answering(OK)]])
    assert (await ask(app)).status == 503
    assert answered_by(app) == [1, 0]


async def test_host_follows_the_node(fronted: Fronts) -> None:
    app, _ = await fronted(nodes=[[closing(b"")], [answering(OK)]], pass_host="node")
    await ask(app)
    for raw in app.raws:
        assert b"\r\nhost: 127.0.0.1:%d\r\n" % raw.port in raw.heads[0]


# -- connections that were kept


async def ending(peer: Peer) -> None:
    """Answer once; close when the second request has arrived."""
    await peer.request()
    await peer.send(OK)
    await peer.request()
    peer.close()


async def test_a_stale_connection_is_replaced(fronted: Fronts) -> None:
    app, raw = await fronted(ending, answering(OK), retries=0)
    await ask(app)
    answer = await ask(app)
    assert answer.body == b"ok"
    assert len(raw.peers) == 2
    assert answer.ctx.upstream.statuses == [200]
    assert [done.error for done in app.upstream.finishes] == [None] * 3


async def test_a_stale_connection_is_replaced_once(fronted: Fronts) -> None:
    app, raw = await fronted(ending, closing(b""), retries=0)
    await ask(app)
    assert (await ask(app)).status == 502
    assert len(raw.peers) == 2


async def test_a_kept_connection_that_began_to_answer_is_not_stale(fronted: Fronts) -> None:
    async def ending_in_the_head(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await half(peer)
        peer.close()

    app, raw = await fronted(ending_in_the_head, answering(OK), retries=0)
    await ask(app)
    assert (await ask(app)).status == 502
    assert len(raw.peers) == 1


async def test_a_post_on_a_stale_connection_is_not_sent_again(fronted: Fronts) -> None:
    app, raw = await fronted(ending, answering(OK), retries=0)
    await ask(app)
    assert (await ask(app, "POST", **POST)).status == 502
    assert len(raw.peers) == 1


async def test_a_timeout_on_a_kept_connection_is_no_staleness(fronted: Fronts) -> None:
    async def freezing(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()

    app, raw = await fronted(freezing, answering(OK), retries=0, timeout=Timeouts(5, 5, 0.2))
    await ask(app)
    assert (await ask(app)).status == 504
    assert len(raw.peers) == 1


async def test_a_connection_closed_while_idle_is_never_used(fronted: Fronts) -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        peer.close()

    app, raw = await fronted(once)
    for number in range(1, 4):
        assert (await ask(app, "POST", **POST)).body == b"ok"
        await eventually(lambda: app.upstream.pool.statistics() == (0, 0, 0, 0))
        assert len(raw.peers) == number


async def test_a_connection_that_talks_while_idle_is_closed(fronted: Fronts) -> None:
    async def talking(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await asyncio.sleep(0.02)
        await peer.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")

    app, raw = await fronted(talking)
    await ask(app)
    await eventually(lambda: app.upstream.pool.statistics() == (0, 0, 0, 0))
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)


# -- clients that leave


@pytest.mark.parametrize("script", [silent, half], ids=["no answer", "half a head"])
async def test_client_gone_while_waiting(
    fronted: Fronts, script: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pingsix_asgi.engine")
    app, raw = await fronted(script)
    leaves = asyncio.Event()
    request = asyncio.create_task(ask(app, leaves=leaves))
    await eventually(lambda: bool(raw.heads))
    leaves.set()
    with pytest.raises(IndexError):  # nothing was sent
        (await request).status  # noqa: B018
    ctx = app.contexts[0]
    assert isinstance(ctx.error, ClientGone)
    assert ctx.status == 499
    assert [record.levelname for record in caplog.records if "ClientGone" in record.message] == [
        "INFO"
    ]
    assert error_of(app) is None
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)


async def test_client_gone_while_connecting(full_backlog: int) -> None:
    app = OneRoute(ListedUpstream(full_backlog))
    leaves = asyncio.Event()
    leaves.set()
    await ask(app, leaves=leaves)
    assert isinstance(app.contexts[0].error, ClientGone)
    assert error_of(app) is None
    await app.upstream.aclose()


async def test_client_gone_while_streaming(fronted: Fronts) -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(b"2\r\nhi\r\n")
            await asyncio.sleep(0.01)

    app, raw = await fronted(endless)
    leaves = asyncio.Event()
    request = asyncio.create_task(ask(app, leaves=leaves))
    await eventually(lambda: bool(app.contexts) and app.contexts[0].status == 200)
    leaves.set()
    await request
    assert isinstance(app.contexts[0].error, ClientGone)
    assert error_of(app) is None
    await eventually(lambda: raw.peers[0].reader.at_eof() or raw.peers[0].writer.is_closing())


@pytest.mark.parametrize(
    "fields", [[(b"content-length", b"9")], [(b"transfer-encoding", b"chunked")]]
)
async def test_client_gone_while_uploading(
    fronted: Fronts, fields: list[tuple[bytes, bytes]]
) -> None:
    async def reading(peer: Peer) -> None:
        await peer.closed()

    app, raw = await fronted(reading)
    messages: list[Message] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        await asyncio.sleep(0.01)
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError("nothing is to be sent")

    scope = {"type": "http", "http_version": "1.1", "method": "POST", "headers": fields}
    await app({**scope, "raw_path": b"/", "path": "/"}, receive, send)
    assert isinstance(app.contexts[0].error, ClientGone)
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)
    assert error_of(app) is None


async def test_a_server_that_says_so_in_send(fronted: Fronts) -> None:
    app, _ = await fronted(answering(OK))

    async def send(message: Message) -> None:
        raise OSError("client is gone")

    scope = {"type": "http", "http_version": "1.1", "method": "GET", "headers": []}
    await app({**scope, "raw_path": b"/", "path": "/"}, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert isinstance(app.contexts[0].error, ClientGone)


async def test_cancellation_closes_the_connection(fronted: Fronts) -> None:
    app, raw = await fronted(silent)
    request = asyncio.create_task(ask(app))
    await eventually(lambda: bool(raw.heads))
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)
    assert error_of(app) is None


async def test_no_task_is_left_behind(fronted: Fronts) -> None:
    before = asyncio.all_tasks()
    app, raw = await fronted(answering(OK))
    await ask(app)
    await asyncio.sleep(0)
    others = {task for task in asyncio.all_tasks() - before if "converse" not in repr(task)}
    assert not others
    assert len(raw.peers) == 1
