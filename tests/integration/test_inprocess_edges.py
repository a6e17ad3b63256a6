"""What must hold between gateway and wrapped app when either of them, or a client, is unusual."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from pingsix_asgi import PingSIX
from support.servers import serving


def route(plugins: Any, uri: str = "/*", **fields: Any) -> dict[str, Any]:
    return {"routes": [{"id": "1", "uri": uri, "plugins": plugins, **fields}]}


async def fetch(port: int, path: str, *lines: str, body: bytes = b"", method: str = "GET") -> bytes:
    """Send one request byte for byte and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = ("host: a.test", "connection: close", *lines)
    head = "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", *fields, ""))
    writer.write(head.encode() + body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def admin(request: Request) -> PlainTextResponse:
    return PlainTextResponse("for admins")


@pytest.mark.parametrize("mounted", [True, False])
async def test_no_way_around_a_route_leads_through_the_root_path(mounted: bool) -> None:
    guarded = route({"key-auth": {"key": "k"}}, "/api/admin")
    guarded["routes"].append({"id": "2", "uri": "/*", "plugins": {"request-id": {}}})
    app: Any = PingSIX(Starlette(routes=[Route("/admin", admin)]), config=guarded)
    prefix = "/api" if mounted else ""
    if mounted:
        app = Starlette(routes=[Mount("/api", app=app)])
    async with serving(app, lifespan="off", root_path="" if mounted else "/api") as served:
        for path, status in (
            ("/admin", b"401"),
            ("/../admin", b"400"),
            ("/%2e%2e/admin", b"400"),
            ("/x/../../admin", b"400"),
            ("/x/../admin", b"401"),
        ):
            answer = await fetch(served.port, prefix + path)
            assert answer.split()[1] == status, path
