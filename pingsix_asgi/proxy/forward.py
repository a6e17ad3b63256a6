"""Send a request to a node of an upstream and its answer back: the target of most routes.

Read ``__call__`` from top to bottom. A request without a body and an answer that arrives at once,
the usual case, cost one future: no task, no timer, no queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from ..context import Context, Target
from ..errors import ClientGone, ConnectError, NoNode, UpstreamError
from ..http.forwarding import HOST_PART, TRAILERS, Forwarding, Head
from ..http.framing import NO_BODY
from ..types import Receive, Send
from ..upstream.node import Node, Timeouts
from .connection import Connection
from .exchange import Exchange
from .outgoing import Outgoing, read_outgoing
from .relay import relay
from .retry import MAX_ATTEMPTS, may_repeat, was_stale

if TYPE_CHECKING:
    from .pool import Pool

_STANDARD_PORTS: Final = {"http": 80, "grpc": 80, "https": 443, "grpcs": 443}


class Balanced(Protocol):
    """What is used of upstream.Upstream."""

    @property
    def scheme(self) -> str: ...
    @property
    def pass_host(self) -> str: ...
    @property
    def upstream_host(self) -> str | None: ...
    @property
    def retries(self) -> int: ...
    @property
    def retry_timeout(self) -> float: ...
    @property
    def timeout(self) -> Timeouts: ...
    @property
    def single(self) -> Node | None: ...

    def pick(self, ctx: Context, tried: Collection[Node] = ()) -> Node: ...
    def started(self, node: Node) -> None: ...
    def finished(
        self, node: Node, status: int | None, error: UpstreamError | None, seconds: float
    ) -> None: ...


class Forward:
    """The target of a route with an upstream.

    ``timeout`` is the route's; default: the upstream's. ``local`` answers for nodes that stand for
    the wrapped app. ``trusted`` tells of a peer's IP whether its X-Forwarded-* are believed; None:
    of nobody. ``server`` replaces the upstream's Server field; None keeps it. ``show_status`` adds
    X-APISIX-Upstream-Status to every answer rather than to 5xx only (APISIX
    ``show_upstream_status_in_response_header``).
    """

    def __init__(
        self,
        upstream: Balanced,
        timeout: Timeouts | None = None,
        local: Target | None = None,
        *,
        trusted: Callable[[str], bool] | None = None,
        server: bytes | None = None,
        show_status: bool = False,
    ) -> None:
        self.upstream = upstream
        self.timeouts = timeout or upstream.timeout
        self._local = local
        self.forwarding = Forwarding(trusted)
        self._server = server
        self._shown_from = 100 if show_status else 500
        self._passes_host = upstream.pass_host == "pass"  # noqa: S105 - not a password

    def prepare(self, ctx: Context) -> Awaitable[None] | None:
        """Pick a node. Raises NoUpstream or NoNode."""
        ctx.node = self.upstream.single or self.upstream.pick(ctx)
        return None

    async def __call__(self, ctx: Context, receive: Receive, send: Send) -> None:
        """Answer with what the upstream answers; other nodes are tried as its retries allow.

        Raises DownstreamError, ClientGone, and UpstreamError: before the first message when no
        answer was had, after it when the answer broke off.
        """
        node: Node = ctx.node
        if node.is_local or ctx.scope["type"] != "http":
            await self._call_otherwise(ctx, receive, send)
            return
        exchange = ctx.upstream = Exchange(self.timeouts, receive, node.pool.ticker)
        try:
            connection = self._ask_at_once(ctx, exchange)
            failure: UpstreamError | None = None
            if connection is not None:
                try:
                    while not connection.ready:
                        await exchange.wait("read", self.timeouts.read)
                except UpstreamError as error:
                    failure = error
            if connection is None or failure is not None:
                outgoing = await self._read(ctx, exchange, receive)
                connection = await self.ask(ctx, exchange, outgoing, failure)
            if connection is None:
                receive = outgoing.replayed(receive)
            else:
                self.begin_answer(ctx, exchange, connection)
                if connection.complete and exchange.body_read and not connection.trailers:
                    body = self._whole_body(ctx, exchange, connection)
                    status, headers = connection.status, connection.headers
                    await send(
                        {"type": "http.response.start", "status": status, "headers": headers}
                    )
                    await send({"type": "http.response.body", "body": body, "more_body": False})
                else:
                    await self._stream_answer(ctx, exchange, connection, send)
                return
        except OSError as failed:  # what servers raise from send (ASGI 2.4)
            raise ClientGone("client left while it got its answer") from failed
        finally:
            self.end(exchange)
        await self.call_local(ctx, receive, send)

    def _ask_at_once(self, ctx: Context, exchange: Exchange) -> Connection | None:
        """Send a plain request without body on a connection that is idle, if there is one."""
        node: Node = ctx.node
        is_head = ctx.request.method == "HEAD"
        if is_head and ctx.scope["method"] != "HEAD":
            return None
        host = None if self._passes_host else self._host(node)
        encoded = None if ctx.body else self.forwarding.plain(ctx.request, ctx.scope, host)
        if encoded is None:
            return None
        connection: Connection | None = node.pool.take(exchange.loop)
        if connection is not None:
            self.upstream.started(node)
            exchange.asked = node
            exchange.connection = connection
            connection.send(exchange, encoded, is_head)
        return connection

    def _encode(self, node: Node, head: Head, framing: bytes) -> bytes:
        if not self._passes_host or not head.parts[HOST_PART]:
            head.parts[HOST_PART] = self._host(node)
        return head.encode(framing)

    async def _call_otherwise(self, ctx: Context, receive: Receive, send: Send) -> None:
        if ctx.node.is_local:
            await self.call_local(ctx, receive, send)
        else:
            from .websocket import bridge  # an extra

            await bridge(self, ctx, receive, send)

    async def _read(self, ctx: Context, exchange: Exchange, receive: Receive) -> Outgoing:
        """Read as much of the request as goes with its head."""
        head = self.forwarding.head(ctx.request, ctx.scope)
        sent = ctx.scope["headers"]
        if ctx.body or (ctx.body is not None and head.length > 0):
            head.length, sent = len(ctx.body), []  # kept, or put in place of the client's
        if head.length in (NO_BODY, 0):
            return Outgoing(head, b"" if head.length else b"\r\ncontent-length: 0")
        exchange.body_read = False
        outgoing = await read_outgoing(head, receive, sent)
        exchange.body_read = True
        return outgoing

    async def ask(
        self,
        ctx: Context,
        exchange: Exchange,
        outgoing: Outgoing,
        failure: UpstreamError | None = None,
    ) -> Connection | None:
        """Send the request until a node begins to answer; None when the local app is to answer.

        ``failure`` is what became of an attempt before. Raises UpstreamError when the last failed.
        """
        tried: list[Node] = []
        is_fresh = False
        while True:
            if failure is not None:
                is_fresh = self._after_failure(ctx, exchange, outgoing, failure, tried)
                exchange.start_over()
            node: Node = ctx.node
            if node.is_local:
                return None
            try:
                encoded = self._encode(node, outgoing.head, outgoing.framing)
                self._started(exchange, node)
                pool: Pool = node.pool
                connection = None if is_fresh else pool.take(exchange.loop)
                if connection is None:
                    connection = await self._connect(exchange, pool)
                exchange.connection = connection
                is_head = ctx.request.method == "HEAD"
                outgoing.send(exchange, connection, encoded, is_head)
                while not connection.ready:
                    await exchange.wait("read", self.timeouts.read)
                outgoing.judge(connection)
                if is_head and ctx.scope.get("method") != "HEAD":  # the client expects a body
                    connection.drop_length()
                return connection
            except UpstreamError as error:
                failure = error

    async def _connect(self, exchange: Exchange, pool: Pool) -> Connection:
        began = monotonic()
        connection = await pool.connect(exchange, self.timeouts.connect)
        exchange.connect_s = monotonic() - began
        if connection.closed:
            where = f"{pool.key.host}:{pool.key.port}"
            raise ConnectError(f"{where}: a new connection was closed at once")
        return connection

    def _after_failure(
        self,
        ctx: Context,
        exchange: Exchange,
        outgoing: Outgoing,
        error: UpstreamError,
        tried: list[Node],
    ) -> bool:
        """Choose where to try again; return whether on a new connection to the same node.

        Raises the error when it is final.
        """
        node: Node = ctx.node
        repeats = may_repeat(error, ctx.request.method, outgoing)
        if repeats and was_stale(exchange.connection, error):
            self._finished(exchange)
            return True
        self._finished(exchange, error=error)
        exchange.failed(node.name, error.status)
        error.headers = (_statuses_field(exchange),)
        tried.append(node)
        upstream = self.upstream
        if not repeats or len(tried) > min(upstream.retries, MAX_ATTEMPTS - 1):
            raise error
        if upstream.retry_timeout and exchange.response_s > upstream.retry_timeout:
            late = UpstreamError(f"retry_timeout has passed: {error}", status=502)
            late.headers = error.headers
            raise late from error
        try:
            ctx.node = upstream.pick(ctx, tried)
        except NoNode:
            raise error from None
        return False

    def _started(self, exchange: Exchange, node: Node) -> None:
        exchange.asked = node
        self.upstream.started(node)

    def _finished(
        self, exchange: Exchange, status: int | None = None, error: UpstreamError | None = None
    ) -> None:
        """End what ``_started`` began."""
        node = exchange.asked
        if node is not None:
            exchange.asked = None
            seconds = exchange.response_s = monotonic() - exchange.started
            self.upstream.finished(node, status, error, seconds)

    def end(self, exchange: Exchange) -> None:
        """Give back what the exchange still holds, however it ended."""
        if exchange.asked is not None:
            self._finished(exchange)
        exchange.end()

    def begin_answer(self, ctx: Context, exchange: Exchange, connection: Connection) -> None:
        """Note the answer's head and complete its fields."""
        exchange.header_s = monotonic() - exchange.started
        status = ctx.status = exchange.status = connection.status
        exchange.node = ctx.node.name
        server = self._server or connection.server
        if server is not None:
            connection.headers.append((b"server", server))
        if status >= self._shown_from:
            connection.headers.append(_statuses_field(exchange))

    def _whole_body(self, ctx: Context, exchange: Exchange, connection: Connection) -> bytes:
        """Return the body of an answer that is complete; its connection is free already."""
        node: Node = ctx.node
        body = connection.take()
        if connection.trailers is not None or connection.until_close:
            connection.headers.append((b"content-length", b"%d" % len(body)))
        exchange.asked = exchange.connection = None
        seconds = exchange.response_s = exchange.header_s
        node.pool.release(connection, exchange.started + seconds)
        self.upstream.finished(node, connection.status, None, seconds)
        return body

    async def _stream_answer(
        self, ctx: Context, exchange: Exchange, connection: Connection, send: Send
    ) -> None:
        """Pass the answer on as it comes."""
        error: UpstreamError | None = None
        try:
            offers = TRAILERS in (ctx.scope.get("extensions") or ())
            await relay(exchange, connection, send, offers_trailers=offers)
            if exchange.body_read:
                exchange.connection = None
                ctx.node.pool.release(connection)
        except UpstreamError as failure:
            error = failure
            raise
        finally:
            self.answered(exchange, error)

    def answered(self, exchange: Exchange, error: UpstreamError | None) -> None:
        """Note that a streamed answer is over, by ``error`` or not."""
        self._finished(exchange, exchange.status, error)

    async def call_local(self, ctx: Context, receive: Receive, send: Send) -> None:
        """Let the wrapped app answer in place of a node."""
        if self._local is None:
            raise NoNode("there is no wrapped app to answer")
        node: Node = ctx.node
        began = monotonic()
        self.upstream.started(node)
        try:
            await self._local(ctx, receive, send)
        finally:
            self.upstream.finished(node, ctx.status or None, None, monotonic() - began)

    def _host(self, node: Node) -> bytes:
        """Return the Host for ``node`` by pass_host. Source: APISIX set_upstream_host."""
        upstream = self.upstream
        if upstream.upstream_host and upstream.pass_host == "rewrite":  # noqa: S105
            return upstream.upstream_host.encode()
        host = f"[{node.host}]" if ":" in node.host and node.host[0] != "[" else node.host
        if node.port == _STANDARD_PORTS.get(upstream.scheme):
            return host.encode()
        return f"{host}:{node.port}".encode()


class ForwardByBody(Forward):
    """The target of a route whose upstream hashes something of the request body."""

    async def prepare(self, ctx: Context) -> None:
        """Read the body, as far as variables may, and pick a node by it."""
        if self.upstream.single is None:
            await ctx.preload_body()
        super().prepare(ctx)


def _statuses_field(exchange: Exchange) -> tuple[bytes, bytes]:
    """Return the field that tells what each attempt gave."""
    return b"x-apisix-upstream-status", ", ".join(map(str, exchange.statuses)).encode()
