"""One exchange with a client of the Admin API: its request read, its answer sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl

from ... import __version__
from ...config.layout import decode_json
from ...types import JSON, RawHeaders, Receive, Scope, Send

MAX_BODY_BYTES: Final = 1536 * 1024
"""Source: apisix/admin/init.lua."""
BASE: Final = "/apisix/admin"
_SERVER: Final = (b"server", f"PingSIX/{__version__}".encode())
_API_VERSION: Final = (b"x-api-version", b"v3")


class Refusal(Exception):
    """An answer other than success: a status, and a JSON document or text."""

    def __init__(self, status: int, document: JSON) -> None:
        super().__init__(document)
        self.status, self.document = status, document


def refused(status: int, text: str) -> Refusal:
    """Make a Refusal in APISIX's usual form."""
    return Refusal(status, {"error_msg": text})


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document that was written as JSON already."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    method: str
    segments: tuple[str, ...]
    """The path below ``/apisix/admin``."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    client: str
    body: JSON = None
    """The decoded body; None when there is none."""
    has_body: bool = False

    def cookie(self, name: str) -> str | None:
        """Return a cookie's value."""
        try:
            found = SimpleCookie(self.headers.get("cookie", "")).get(name)
        except CookieError:
            return None
        return found.value if found else None


def parse_head(scope: Scope) -> Request | None:
    """Make a Request without its body; None for a path outside the Admin API."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    if path != BASE and not path.startswith(BASE + "/"):
        return None
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    query: dict[str, str] = {}
    text = scope.get("query_string", b"").decode("latin-1")
    for key, value in parse_qsl(text, keep_blank_values=True):
        query.setdefault(key, value)
    client = scope.get("client")
    segments = [part for part in path[len(BASE) :].split("/") if part]
    return Request(scope["method"], tuple(segments), query, headers, client[0] if client else "")


async def read_body(receive: Receive, announced: str | None = None) -> tuple[JSON, bool]:
    """Return the decoded body and whether there was one. Raises Refusal.

    ``announced`` is its content-length, by which one that is too long is refused unread.
    """
    chunks, size = [], 0
    if announced is not None and announced.isdecimal():
        _check_size(int(announced))
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise refused(400, "invalid request body: client closed the connection")
        chunk = message.get("body", b"")
        size += len(chunk)
        _check_size(size)
        chunks.append(chunk)
        if not message.get("more_body"):
            break
    raw = b"".join(chunks)
    if not raw:
        return None, False
    try:
        return decode_json(raw), True
    except ValueError as error:
        found = {
            "error_msg": f"invalid request body: {error}",
            "req_body": raw[:1000].decode("utf-8", "replace"),
        }
        raise Refusal(400, found) from None


def _check_size(size: int) -> None:
    if size > MAX_BODY_BYTES:
        text = f"invalid request body: request size {size} is greater than the maximum size "
        raise refused(400, f"{text}{MAX_BODY_BYTES} allowed")


def encoded_list(total: int, entries: Iterable[Encoded]) -> Encoded:
    """Put the entries of a list together."""
    listed = b",".join(entry.text for entry in entries)
    return Encoded(b'{"total":%d,"list":[%b]}' % (total, listed))


def encoded(document: JSON) -> Encoded:
    """Write a document; what is not text becomes "?"."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return Encoded(text.encode("utf-8", "replace"))


async def answer(send: Send, status: int, document: JSON | Encoded, headers: RawHeaders) -> None:
    """Send a JSON document, a text, or nothing (None)."""
    lines = [_SERVER, *headers]
    if status != 401:  # the version is told to those with a key
        lines.append(_API_VERSION)
    if document is None:
        body = b""
    elif isinstance(document, str):
        body = document.encode("utf-8", "replace")
        lines.append((b"content-type", b"text/plain; charset=utf-8"))
    else:
        body = (document if isinstance(document, Encoded) else encoded(document)).text
        body += b"\n"
        lines.append((b"content-type", b"application/json"))
    lines.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
