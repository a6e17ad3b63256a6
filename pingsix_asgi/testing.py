"""A kit for plugin tests: time that moves on request, an ASGI client in memory, a recorder.

client = Client(alone(RequestId, header_name="X-Trace"))
answer = await client.get("/")
assert answer.header("x-trace")
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from .adapters import PluginMiddleware
from .clock import Clock
from .context import Consumer, Context
from .plugin.base import Plugin, PluginConf, Reply
from .plugin.consumer import Consumers
from .types import JSON, ASGIApp, Message, RawHeaders, Receive, Scope, Send

HeaderArgs = Mapping[str, str] | Iterable[tuple[str, str]]


class FakeClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move forward."""
        self.now += seconds


@dataclass
class Answer:
    """A complete response, and the ASGI messages it came in."""

    status: int = 0
    headers: RawHeaders = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> JSON:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """Return all values of a header joined by ", ", or None when it is absent."""
        values = self.all(name)
        return ", ".join(values) if values else None

    def all(self, name: str) -> list[str]:
        """Return every value of a header, in order."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key == wanted]


class Client:
    """Sends requests to an ASGI app in memory. Every header the app sees is one given here."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str = "testserver",
        address: tuple[str, int] = ("127.0.0.1", 50000),
        scheme: str = "http",
        http_version: str = "1.1",
    ) -> None:
        self._app = app
        self._host = host
        self._address = address
        self._scheme = scheme
        self._http_version = http_version

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: HeaderArgs = (),
        body: bytes | Iterable[bytes] = b"",
        address: str | None = None,
    ) -> Answer:
        """Send one request and wait until the app is done with it."""
        answer = Answer()
        scope = self._scope("http", target, headers)
        scope["method"] = method
        if address is not None:
            scope["client"] = (address, self._address[1])
        chunks = [body] if isinstance(body, bytes) else list(body)
        await self._app(scope, _sender_of(chunks), _collector(answer))
        return answer

    async def get(self, target: str = "/", headers: HeaderArgs = ()) -> Answer:
        return await self.request("GET", target, headers=headers)

    async def websocket(self, target: str = "/", headers: HeaderArgs = ()) -> list[Message]:
        """Offer a WebSocket handshake and return what the app sent until it was done."""
        scope = self._scope("websocket", target, headers)
        scope["scheme"] = "wss" if self._scheme == "https" else "ws"
        scope["subprotocols"] = []
        scope["extensions"] = {"websocket.http.response": {}}
        incoming: list[Message] = [
            {"type": "websocket.connect"},
            {"type": "websocket.disconnect", "code": 1000},
        ]
        sent: list[Message] = []

        async def receive() -> Message:
            return incoming.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return sent

    async def lifespan(self) -> list[str]:
        """Start and stop the app; returns the types of the messages it sent."""
        sent: list[str] = []
        incoming: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> Message:
            return incoming.pop(0)

        async def send(message: Message) -> None:
            sent.append(message["type"])

        await self._app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
        return sent

    def _scope(self, kind: str, target: str, headers: HeaderArgs) -> dict[str, Any]:
        raw_path, _, query = target.partition("?")
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
        if not any(name == b"host" for name, _ in raw):
            raw.insert(0, (b"host", self._host.encode()))
        return {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": self._http_version,
            "scheme": self._scheme,
            "path": unquote(raw_path),
            "raw_path": raw_path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": raw,
            "client": self._address,
            "server": ("testserver", 443 if self._scheme == "https" else 80),
            "state": {},
        }


class Recorder(Plugin):
    """A plugin that notes every hook that ran, in ``Recorder.seen`` of its own subclass.

    ``Recorder.make(name, priority)`` gives a class with an empty list.
    """

    name = "recorder"
    priority = 0
    seen: list[str]

    @classmethod
    def make(cls, name: str = "recorder", priority: int = 0) -> type[Recorder]:
        """Return a new recording plugin class."""
        return type(name, (cls,), {"name": name, "priority": priority, "seen": []})

    def rewrite(self, ctx: Context) -> Reply:
        self.seen.append("rewrite")
        return None

    def access(self, ctx: Context) -> Reply:
        self.seen.append("access")
        return None

    def before_proxy(self, ctx: Context) -> Reply:
        self.seen.append("before_proxy")
        return None

    def header_filter(self, ctx: Context) -> None:
        self.seen.append("header_filter")

    def body_filter(self, ctx: Context, chunk: bytes, last: bool) -> bytes:
        self.seen.append("body_filter")
        return chunk

    def log(self, ctx: Context) -> None:
        self.seen.append(f"log {ctx.status}")


class EchoApp:
    """An ASGI app that answers the same to everything and keeps the scopes it was called with."""

    def __init__(
        self,
        body: bytes | Iterable[bytes] = b"hello",
        *,
        status: int = 200,
        headers: HeaderArgs = (("content-type", "text/plain"),),
    ) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []
        self._chunks = [body] if isinstance(body, bytes) else list(body) or [b""]
        self._status = status
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        self._headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
        self._is_sized = isinstance(body, bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _run_lifespan(receive, send)
            return
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept", "headers": list(self._headers)})
            await send({"type": "websocket.close", "code": 1000})
            return
        self.bodies.append(await _body_of(receive))
        headers = list(self._headers)
        if self._is_sized and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"content-length", b"%d" % len(self._chunks[0])))
        start = {"type": "http.response.start", "status": self._status, "headers": headers}
        await send(start)
        for left, chunk in zip(reversed(range(len(self._chunks))), self._chunks, strict=True):
            await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})

    def header(self, name: str) -> str | None:
        """Return a request header of the last call, its repeats joined by ", "."""
        wanted = name.lower().encode()
        pairs = self.scopes[-1]["headers"]
        values = [value.decode("latin-1") for key, value in pairs if key == wanted]
        return ", ".join(values) if values else None


def alone(plugin: type[Plugin], app: ASGIApp | None = None, /, **options: Any) -> PluginMiddleware:
    """Put one plugin in front of ``app`` (default: an EchoApp)."""
    return together({plugin: options}, app)


def together(
    confs: Mapping[type[Plugin], Mapping[str, Any]],
    app: ASGIApp | None = None,
    *,
    clock: Clock | None = None,
    metadata: Mapping[str, JSON] | None = None,
    consumers: Consumers | None = None,
) -> PluginMiddleware:
    """Put several plugins, each with its options, in one plan in front of ``app``."""
    return PluginMiddleware(
        app or EchoApp(), confs, clock=clock, metadata=metadata, consumers=consumers
    )


@dataclass
class FakeConsumer:
    """A consumer for auth tests; ``credential`` finds it, ``conf`` is its auth conf."""

    username: str
    credential: str = ""
    conf: PluginConf | None = None
    group_id: str | None = None
    credential_id: str | None = None
    custom_id: str | None = None
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def consumer(self) -> Consumer:
        return self


class FakeConsumers:
    """An index over FakeConsumers."""

    def __init__(self, *consumers: FakeConsumer) -> None:
        self._consumers = consumers

    def find(self, value: str) -> FakeConsumer | None:
        return next((c for c in self._consumers if c.credential and c.credential == value), None)

    def by_name(self, username: str) -> FakeConsumer | None:
        return next((c for c in self._consumers if c.username == username), None)


def _sender_of(chunks: list[bytes]) -> Receive:
    pending: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks or [b""])
    ]

    async def receive() -> Message:
        if pending:
            return pending.pop(0)
        await asyncio.Event().wait()  # the client stays until the answer is complete
        raise AssertionError("unreachable")

    return receive


def _collector(answer: Answer) -> Callable[[Message], Awaitable[None]]:
    async def send(message: Message) -> None:
        answer.messages.append(message)
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            answer.chunks.append(message.get("body", b""))

    return send


async def _body_of(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _run_lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
