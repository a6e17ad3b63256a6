"""What one request carries through the gateway, and the two seams the engine sees it through.

``Match`` is what the router found, ``Target`` is what will answer. Both are protocols, so the
engine knows neither router nor network and one engine serves the gateway and a lone plugin alike.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from asgiref.sync import markcoroutinefunction

from .errors import ClientGone, DownstreamError, RequestError
from .http.framing import announced_length, check_absence, is_given_up
from .http.headers import Headers, lower_case
from .http.request import Request as Request
from .http.response import BODILESS, Response
from .http.response_head import NO_RESPONSE, ResponseHead
from .types import Message, Receive, Scope, Send

if TYPE_CHECKING:
    from .plugin.plan import Plan

logger = logging.getLogger("pingsix_asgi.engine")

CONTEXT_KEY = "pingsix.context"
"""Where ASGI middleware plugins and the wrapped app find the Context in their scope."""

_BODY_BYPASSES = ("http.response.pathsend", "http.response.zerocopysend")
"""Extensions by which an app sends a body that no body filter would see."""

PRELOAD_BYTES: Final = 67_108_864
"""Largest request body read for variables. Source: APISIX's max_post_args_readable_size."""


class Consumer(Protocol):
    """An authenticated caller: a consumer resource together with the credential it used."""

    username: str
    group_id: str | None
    credential_id: str | None
    custom_id: str | None
    labels: dict[str, str]


class RouteInfo(Protocol):
    """Names of what was matched, for variables, logs and metrics; "" where there is none."""

    route_id: str
    route_name: str
    service_id: str
    service_name: str
    uri: str
    """The path pattern that matched, as configured."""
    hosts: tuple[str, ...]


class Target(Protocol):
    """What answers a request: the wrapped app, or a node of an upstream."""

    def prepare(self, ctx: Context) -> Response | Awaitable[Response | None] | None:
        """Choose a node (kept in ``ctx.node``) before the before_proxy phase; nothing is sent yet.

        Returns a reply to answer at once, normally None, or something to await that gives one: the
        choice may need the request body. Raises NoUpstream or NoNode.
        """

    async def __call__(self, ctx: Context, receive: Receive, send: Send) -> None:
        """Answer ``ctx.request``, with its body from ``receive``, through ``send``.

        Raises RequestError before the first message was sent to say that nothing was answered;
        after that, to abort the connection.
        """


class Match(Protocol):
    """A matched route, compiled. "No route" is a Match too: global rules and a 404 target."""

    plan: Plan
    target: Target
    info: RouteInfo

    def plan_for(self, consumer: Consumer) -> Plan:
        """Return the plan with the consumer's and its group's plugins merged in (cached)."""


class Context:
    """One request. Slots only; optional parts stay None until somebody needs them."""

    __slots__ = (
        "body",
        "bytes_sent",
        "consumer",
        "error",
        "match",
        "node",
        "params",
        "plan",
        "receive",
        "request",
        "response",
        "scope",
        "server_send",
        "snapshot",
        "started",
        "state",
        "status",
        "target",
        "upstream",
        "vars",
    )

    reply_headers: ClassVar[Sequence[tuple[bytes, bytes]]] = ()
    """What every reply of the gateway itself carries; a gateway alone names itself there."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request: Request) -> None:
        self.scope = scope
        self.receive = receive
        self.server_send = send
        self.request = request
        self.started = 0.0
        """Monotonic time of arrival."""
        self.match: Match
        self.plan: Plan
        """The hooks in force now: global rules only until the route's plugins are chosen."""
        self.target: Target
        """What will answer; traffic-split replaces it during access."""
        self.snapshot: Any = None
        self.params: dict[str, str] | None = None
        """Path parameters by name."""
        self.response = NO_RESPONSE
        """The response under way, in response phases; status 0 before."""
        self.status = 0
        """Status of the started response; 0 while nothing was sent. 101 for a WebSocket."""
        self.bytes_sent = 0
        """Response body bytes sent so far (counted only when some plugin observes responses)."""
        self.node: Any = None
        """The picked upstream node (upstream.node.Node), or None for the local app."""
        self.upstream: Any = None
        """What the exchange with the upstream measured (proxy.exchange.Exchange), or None."""
        self.body: bytes | None = None
        """The whole request body, once ``read_body`` or ``replace_body`` kept it."""
        self.consumer: Consumer | None = None
        self.vars: dict[str, Any] | None = None
        """Variables set by plugins; they win over the built-in ones of the same name."""
        self.state: dict[Any, Any] | None = None
        """Per-request notes of plugins, keyed by the plugin instance."""
        self.error: BaseException | None = None

    @property
    def is_websocket(self) -> bool:
        return bool(self.scope["type"] == "websocket")

    def set_var(self, name: str, value: Any) -> None:
        """Set a variable that templates, expressions and logs can read as ``$name``."""
        if self.vars is None:
            self.vars = {}
        self.vars[name] = value

    def note(self, owner: object, value: Any) -> None:
        """Keep ``value`` for ``owner`` (a plugin instance) until the end of the request."""
        if self.state is None:
            self.state = {}
        self.state[owner] = value

    def noted(self, owner: object) -> Any:
        """Return what ``owner`` noted, or None."""
        return None if self.state is None else self.state.get(owner)

    def send(self, message: Message) -> Awaitable[None]:
        """Send one ASGI message to the client, through the response phases of the plan."""
        if self.plan.observes_response:
            return self.observed_send(message)
        return self.server_send(message)

    async def reply(self, reply: Response) -> None:
        """Answer with a complete reply, through the response phases like any other answer."""
        headers = [*reply.headers, *self.reply_headers]
        body = reply.body
        if reply.status in BODILESS:
            body = b""
        else:
            headers.append((b"content-length", b"%d" % len(body)))
        if self.is_websocket:
            await self._refuse_websocket(reply.status, headers, body)
            return
        if self.scope["method"] == "HEAD":
            body = b""
        if is_given_up(self.scope["headers"]):
            headers.append((b"connection", b"close"))
        start = {"type": "http.response.start", "status": reply.status, "headers": headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})

    def app_scope(self) -> Scope:
        """Return the scope for an ASGI app: the server's, or a copy with the edits of plugins.

        Behind ASGI middleware plugins it is theirs, with what they have put in.
        """
        request, scope = self.request, self.scope
        if self.state is not None:
            scope = self.state.get(CONTEXT_KEY, scope)
        filtered = bool(self.plan.body_filters)
        if (
            not filtered
            and request.headers.raw is scope["headers"]
            and request.path == scope["path"]
            and request.query is scope.get("query_string", b"")
            and request.method is scope.get("method", request.method)
            and request.client is (scope.get("client") or request.client)
            and request.scheme is scope.get("scheme", request.scheme)
        ):
            return scope
        copy = {
            **scope,
            "path": _shown(request.path),
            "raw_path": request.target,
            "query_string": request.query,
            "headers": request.headers.raw,
            "client": request.client,
            "scheme": request.scheme,
        }
        if "method" in scope:
            copy["method"] = request.method
        if filtered and "extensions" in scope:
            copy["extensions"] = {
                name: value
                for name, value in (scope["extensions"] or {}).items()
                if name not in _BODY_BYPASSES
            }
        return copy

    def adopt(self, scope: Scope) -> None:
        """Take over what ASGI middlewares made of the scope, before the target answers."""
        request = self.request
        self.note(CONTEXT_KEY, scope)
        if scope["headers"] is not request.headers.raw:
            # A line that is the client's stays so, the same object: see http/forwarding.py.
            sent = {tuple(line): line for line in self.scope["headers"]}
            request.headers = Headers([sent.get(tuple(line), line) for line in scope["headers"]])
        if scope["path"] not in (request.path, _shown(request.path)):
            request.rewrite_path(scope["path"])
        request.query = scope.get("query_string", request.query)
        request.method = scope.get("method", request.method)
        request.client = scope.get("client") or request.client
        request.scheme = scope.get("scheme", request.scheme)

    async def read_body(self, max_bytes: int | None = None) -> bytes:
        """Read the whole request body and keep it, so that the target reads it again.

        Raises DownstreamError 413 when it is larger than ``max_bytes``, ClientGone when the client
        leaves before its end.
        """
        if self.body is None and not await self.preload_body(max_bytes):
            raise DownstreamError(f"request body larger than {max_bytes} bytes", status=413)
        if max_bytes is not None and self.body is not None and len(self.body) > max_bytes:
            raise DownstreamError(f"request body larger than {max_bytes} bytes", status=413)
        return self.body or b""

    async def preload_body(self, max_bytes: int | None = PRELOAD_BYTES) -> bool:
        """Read the request body ahead, for variables, and keep it if it is not larger.

        A larger one is left to stream on, and False returned; one that is announced as larger is
        not begun. Raises ClientGone as read_body does, DownstreamError.
        """
        if self.body is not None or self.is_websocket:
            return True
        if max_bytes is not None and announced_length(self.scope["headers"]) > max_bytes:
            return False
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientGone("client left while sending its request")
            chunk, more = message.get("body", b""), message.get("more_body", False)
            chunks.append(chunk)
            size += len(chunk)
            if max_bytes is not None and size > max_bytes:
                self._push_back(b"".join(chunks), more)
                return False
        if not size:
            check_absence(self.scope["headers"])
        self.replace_body(b"".join(chunks))
        return True

    def replace_body(self, body: bytes) -> None:
        """Let the target read ``body`` instead of what is left of the client's."""
        self.body = body
        self._push_back(body, more=False)

    def _push_back(self, body: bytes, more: bool) -> None:
        rest = self.receive
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": more}]

        async def receive() -> Message:
            return pending.pop() if pending else await rest()

        self.receive = receive

    @markcoroutinefunction  # asgiref and others look at the send they are given
    def observed_send(self, message: Message) -> Awaitable[None]:
        """Send one message as ``send`` does for a plan that observes responses.

        The hooks run now; what is left to await is the server's own send, without a frame of ours.
        """
        kind = message["type"]
        if kind == "http.response.start":
            return self._send_head(message, message["status"])
        if kind == "http.response.body":
            if self.plan.body_filters or self.response.lost_body:
                return self._send_filtered(message)
            self.bytes_sent += len(message.get("body", b""))
        elif kind == "websocket.http.response.start":
            return self._send_head(message, message["status"])
        elif kind == "websocket.accept":
            return self._send_head(message, 101)
        elif kind == "websocket.close" and not self.status:
            self.status = 403
        elif kind in _BODY_BYPASSES and self.response.lost_body:
            message = {"type": "http.response.body"}
        return self.server_send(message)

    def _send_head(self, message: Message, status: int) -> Awaitable[None]:
        raw = message.get("headers", ())
        by_node = self.upstream is not None and self.upstream.node != ""
        if not by_node or self.plan.middleware is not None or type(raw) is not list:
            raw = lower_case(raw)  # not every app gives names as ASGI wants them
        self.response = head = ResponseHead(status, Headers(raw), by_node)
        for hook in self.plan.header_filter:
            try:
                hook(self)
            except Exception:
                logger.exception("header_filter of %r failed", hook)
        self.status = head.status
        if head.status != status:
            head.change_from(status)
        elif head.headers.raw is raw:
            return self.server_send(message)
        message = {**message, "headers": head.headers.raw}
        if "status" in message:
            message["status"] = head.status
        return self.server_send(message)

    def _send_filtered(self, message: Message) -> Awaitable[None]:
        sent = chunk = message.get("body", b"")
        more = message.get("more_body", False)
        for hook in self.plan.body_filters:
            try:
                chunk = hook(self, chunk, not more)
            except RequestError:  # it cannot go on: a part must not pass for the whole
                raise
            except Exception:
                logger.exception("body filter %r failed", hook)
        if self.response.lost_body:
            chunk = b""
        if chunk is sent:
            self.bytes_sent += len(chunk)
            return self.server_send(message)
        if not chunk and more:
            return _nothing()
        self.bytes_sent += len(chunk)
        return self.server_send({**message, "body": chunk})

    async def _refuse_websocket(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        if "websocket.http.response" not in self.scope.get("extensions", ()):
            await self.send({"type": "websocket.close", "code": 1008})
            return
        start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
        await self.send(start)
        await self.send({"type": "websocket.http.response.body", "body": body})


async def _nothing() -> None:
    """What ``send`` gives to await when a body filter held the whole chunk back."""


def _shown(path: str) -> str:
    """Return a path as an ASGI server gives it: bytes that are no UTF-8 are replaced."""
    if path.isascii():
        return path
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
