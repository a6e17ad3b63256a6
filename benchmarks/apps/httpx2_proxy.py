"""A streaming ASGI proxy on httpx2, as a service would write it by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2

from . import UPSTREAM_HOST, UPSTREAM_PORT

BASE = f"http://{UPSTREAM_HOST}:{UPSTREAM_PORT}"
HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"transfer-encoding"))
client = httpx2.AsyncClient(
    limits=httpx2.Limits(max_connections=None, max_keepalive_connections=256)
)


async def body_of(receive: Any) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    names = {name for name, _ in scope["headers"]}
    has_body = b"content-length" in names or b"transfer-encoding" in names
    request = client.build_request(
        scope["method"],
        BASE + scope["raw_path"].decode("ascii"),
        headers=[(n, v) for n, v in scope["headers"] if n not in HOP_BY_HOP and n != b"host"],
        content=body_of(receive) if has_body else None,
    )
    response = await client.send(request, stream=True)
    kept = [(n.lower(), v) for n, v in response.headers.raw if n.lower() not in HOP_BY_HOP]
    await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
    async for chunk in response.aiter_raw():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await response.aclose()
    await send({"type": "http.response.body", "body": b""})
