"""A streaming ASGI proxy on aiohttp's client, as a service would write it by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from . import UPSTREAM_HOST, UPSTREAM_PORT

BASE = f"http://{UPSTREAM_HOST}:{UPSTREAM_PORT}"
HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"transfer-encoding"))
session: aiohttp.ClientSession | None = None


async def body_of(receive: Any) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def app(scope: Any, receive: Any, send: Any) -> None:
    global session
    if scope["type"] != "http":
        return
    if session is None:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
        )
    names = {name for name, _ in scope["headers"]}
    has_body = b"content-length" in names or b"transfer-encoding" in names
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in scope["headers"]
        if name not in HOP_BY_HOP and name != b"host"
    ]
    async with session.request(
        scope["method"],
        BASE + scope["raw_path"].decode("ascii"),
        headers=headers,
        data=body_of(receive) if has_body else None,
        allow_redirects=False,
    ) as response:
        kept = [(n.lower(), v) for n, v in response.raw_headers if n.lower() not in HOP_BY_HOP]
        await send({"type": "http.response.start", "status": response.status, "headers": kept})
        async for chunk in response.content.iter_any():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
