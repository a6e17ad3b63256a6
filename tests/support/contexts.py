"""Contexts for tests of what only reads them."""

from __future__ import annotations

from typing import Any

from pingsix_asgi.context import Context, Request
from pingsix_asgi.http.path import canonical_path
from pingsix_asgi.types import Message


async def no_receive() -> Message:
    raise AssertionError("nobody reads the body here")


async def no_send(message: Message) -> None:
    raise AssertionError("nobody sends here")


def make_context(
    url: str = "/",
    *,
    method: str = "GET",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    body: bytes | None = None,
    **scope: Any,
) -> Context:
    """Return the context of a request; ``scope`` adds to or replaces keys of the ASGI scope."""
    raw_path, _, query = url.encode().partition(b"?")
    items = headers.items() if isinstance(headers, dict) else headers or ()
    path, target = canonical_path(raw_path)
    full: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in items],
        "client": ("192.0.2.7", 4711),
        "server": ("198.51.100.1", 8080),
        **scope,
    }
    ctx = Context(full, no_receive, no_send, Request(full, path, target, "example.com"))
    ctx.body = body
    return ctx
