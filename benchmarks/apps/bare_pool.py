"""The least an ASGI proxy can do: one pool of keep-alive connections, httptools, nothing else.

No routing, no header rules, no timeouts, no retries, no streaming: bodies are held whole. What a
gateway costs is measured against this ceiling, on the same server.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools

from . import UPSTREAM_HOST, UPSTREAM_PORT

HOST_LINE = b"host: %b:%d\r\n" % (UPSTREAM_HOST.encode(), UPSTREAM_PORT)
HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"transfer-encoding"))


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.reset()

    def reset(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.done: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("upstream closed"))
        if self in idle:
            idle.remove(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name not in HOP_BY_HOP:
            self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


idle: list[Connection] = []


async def read_body(receive: Any) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    query = scope["query_string"]
    target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
    lines = [b"%b %b HTTP/1.1\r\n" % (scope["method"].encode(), target), HOST_LINE]
    has_body = False
    for name, value in scope["headers"]:
        if name in (b"content-length", b"transfer-encoding"):
            has_body = True
        elif name != b"host" and name not in HOP_BY_HOP:
            lines.append(b"%b: %b\r\n" % (name, value))
    body = b""
    if has_body:
        body = await read_body(receive)
        lines.append(b"content-length: %d\r\n" % len(body))
    lines.append(b"\r\n")
    lines.append(body)

    loop = asyncio.get_running_loop()
    if idle:
        connection = idle.pop()
    else:
        _, connection = await loop.create_connection(Connection, UPSTREAM_HOST, UPSTREAM_PORT)
    done = connection.done = loop.create_future()
    connection.transport.write(b"".join(lines))
    await done
    status, headers = connection.parser.get_status_code(), connection.headers
    answer = b"".join(connection.chunks)
    connection.reset()
    idle.append(connection)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
