"""An upstream that does exactly what its script says, byte by byte, and a gateway in front of it.

async def script(peer: Peer) -> None:      # runs once per connection
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")

A script that returns leaves the connection open until the test ends; ``close`` and ``reset`` end
it earlier.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from pingsix_asgi.context import Context, Request
from pingsix_asgi.engine import serve
from pingsix_asgi.errors import NoNode, UpstreamError
from pingsix_asgi.http.path import canonical_path
from pingsix_asgi.plugin.plan import Plan
from pingsix_asgi.proxy.forward import Forward
from pingsix_asgi.proxy.pool import Pool
from pingsix_asgi.types import Message, Receive, Scope, Send
from pingsix_asgi.upstream.node import Keepalive, Node, PoolKey, Timeouts, TLSOptions

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
PATIENCE_S = 10.0


class Peer:
    """One connection, seen from the upstream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.heads: list[bytes] = []
        self.gone = asyncio.Event()
        """Set when the connection is over, or the script failed."""

    async def request(self) -> bytes:
        """Read a request head, and the body if it has a content-length; return the head.

        Raises asyncio.IncompleteReadError when the gateway closed.
        """
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length: "):
                await self.reader.readexactly(int(line[16:]))
        return head

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def closed(self) -> None:
        """Wait until the gateway has closed the connection."""
        with contextlib.suppress(OSError):
            while await self.reader.read(65536):
                pass

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class RawUpstream:
    """A listening upstream and every connection it has had."""

    port: int = 0
    peers: list[Peer] = field(default_factory=list)

    @property
    def heads(self) -> list[bytes]:
        return [head for peer in self.peers for head in peer.heads]


@contextlib.asynccontextmanager
async def raw_upstream(
    *scripts: Script, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawUpstream]:
    """Listen on an ephemeral port; the n-th connection gets the n-th script or the last."""
    upstream = RawUpstream()
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        script = scripts[min(len(upstream.peers), len(scripts) - 1)]
        peer = Peer(reader, writer)
        upstream.peers.append(peer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            try:
                await script(peer)
                await peer.closed()
            finally:
                peer.gone.set()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=tls)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in upstream.peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0)


def answering(*answers: bytes) -> Script:
    """Return a script that gives each request of a connection its answer, the last forever."""

    async def script(peer: Peer) -> None:
        number = 0
        while True:
            await peer.request()
            await peer.send(answers[min(number, len(answers) - 1)])
            number += 1

    return script


@dataclass
class Finished:
    """One call of ``finished``."""

    node: Node
    status: int | None
    error: UpstreamError | None
    seconds: float


class ListedUpstream:
    """Hands its nodes out in order; remembers what it is told of them."""

    def __init__(
        self,
        *ports: int,
        retries: int | None = None,
        retry_timeout: float = 0.0,
        timeout: Timeouts | None = None,
        pass_host: str = "pass",
        upstream_host: str | None = None,
        scheme: str = "http",
        tls: TLSOptions | None = None,
        server_name: str | None = None,
        keepalive: Keepalive | None = None,
        max_connections: int | None = None,
    ) -> None:
        self.nodes = [Node("127.0.0.1", port) for port in ports]
        for node in self.nodes:
            key = PoolKey("127.0.0.1", node.port, tls, server_name, keepalive or Keepalive())
            node.pool = Pool(key, max_connections=max_connections)
        self.retries = len(ports) - 1 if retries is None else retries
        self.retry_timeout = retry_timeout
        self.timeout = timeout or Timeouts(5, 5, 5)
        self.pass_host = pass_host
        self.upstream_host = upstream_host
        self.scheme = scheme
        self.finishes: list[Finished] = []

    @property
    def single(self) -> Node | None:
        return self.nodes[0] if len(self.nodes) == 1 else None

    def pick(self, ctx: Context, tried: Collection[Node] = ()) -> Node:
        for node in self.nodes:
            if node not in tried:
                return node
        raise NoNode("all tried")

    def started(self, node: Node) -> None:
        node.active += 1

    def finished(
        self, node: Node, status: int | None, error: UpstreamError | None, seconds: float
    ) -> None:
        assert node.active > 0
        assert seconds >= 0
        node.active -= 1
        self.finishes.append(Finished(node, status, error, seconds))

    @property
    def pool(self) -> Pool:
        pool = self.nodes[0].pool
        assert isinstance(pool, Pool)
        return pool

    async def aclose(self) -> None:
        for node in self.nodes:
            if node.pool is not None:
                await node.pool.aclose()


class OneRoute:
    """An ASGI app: every request is matched by one route without plugins."""

    plan = Plan()
    info: Any = None

    def __init__(self, upstream: ListedUpstream, **options: Any) -> None:
        self.upstream = upstream
        self.target = Forward(upstream, **options)
        self.contexts: list[Context] = []
        self.raws: list[RawUpstream] = []

    def plan_for(self, consumer: object) -> Plan:
        return self.plan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        path, target = canonical_path(scope["raw_path"])
        host = dict(scope["headers"]).get(b"host", b"").decode().rsplit(":", 1)[0]
        ctx = Context(scope, receive, send, Request(scope, path, target, host))
        self.contexts.append(ctx)
        await serve(ctx, self)


class Fronts:
    """Makes upstreams with a gateway in front; closes all of them in the end."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Fronts:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._stack.aclose()

    async def __call__(
        self,
        *scripts: Script,
        nodes: Sequence[Sequence[Script]] | None = None,
        forward: dict[str, Any] | None = None,
        served_over: ssl.SSLContext | None = None,
        **options: Any,
    ) -> tuple[OneRoute, RawUpstream]:
        """Return an app with one node, and that node; ``nodes`` gives scripts for several.

        ``forward`` goes to Forward, ``options`` to ListedUpstream. All nodes' connections are
        listed in the upstream returned.
        """
        raws = [
            await self._stack.enter_async_context(raw_upstream(*each, tls=served_over))
            for each in (nodes or [scripts])
        ]
        listed = ListedUpstream(*(raw.port for raw in raws), **options)
        self._stack.push_async_callback(listed.aclose)
        app = OneRoute(listed, **(forward or {}))
        app.raws = raws
        return app, raws[0]


@dataclass
class Answer:
    """What a request in memory was answered with."""

    messages: list[Message]
    ctx: Context

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


async def ask(
    app: OneRoute,
    method: str = "GET",
    target: str = "/",
    headers: Sequence[tuple[bytes, bytes]] = ((b"host", b"gateway.test"),),
    body: Sequence[bytes] = (),
    *,
    leaves: asyncio.Event | None = None,
    **scope: Any,
) -> Answer:
    """Send one request through ``app`` in memory; the client leaves when ``leaves`` is set.

    Body messages say ``more_body`` but for the last. Raises what the app raises.
    """
    raw_path, _, query = target.encode().partition(b"?")
    pending = [
        {"type": "http.request", "body": piece, "more_body": number < len(body)}
        for number, piece in enumerate(body, 1)
    ]
    if not pending:
        pending.append({"type": "http.request", "body": b"", "more_body": False})
    gone = leaves or asyncio.Event()
    sent: list[Message] = []

    async def receive() -> Message:
        if pending:
            return pending.pop(0)
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    full: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": target.partition("?")[0],
        "raw_path": raw_path,
        "query_string": query,
        "headers": list(headers),
        "client": ("192.0.2.7", 4711),
        "server": ("198.51.100.1", 80),
        **scope,
    }
    await app(full, receive, send)
    return Answer(sent, app.contexts[-1])


async def eventually(claim: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Wait until ``claim`` holds; fail if it does not within the patience."""
    deadline = monotonic() + patience_s
    while not claim():
        assert monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)
