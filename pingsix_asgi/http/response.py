"""Complete replies that the gateway itself writes, in the form APISIX's clients know."""

from __future__ import annotations

import json
from http import HTTPStatus

from ..types import JSON, RawHeaders

BODILESS = frozenset({*range(100, 200), 204, 304})
"""Statuses of responses that end with their head (RFC 9112 §6.3)."""
TEXT_PLAIN = (b"content-type", b"text/plain; charset=utf-8")
TEXT_HTML = (b"content-type", b"text/html; charset=utf-8")

_TITLES = {
    302: "Found",
    413: "Request Entity Too Large",
    414: "Request-URI Too Large",
    416: "Requested Range Not Satisfiable",
    429: "Too Many Requests",
    499: "Client Closed Request",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}


class Response:
    """A reply with a complete body. Never changed once made: response phases edit a copy.

    ``headers`` are lower-case byte pairs; content-length is added when the reply is sent.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes = b"", headers: RawHeaders | None = None) -> None:
        self.status = status
        self.body = body
        self.headers: RawHeaders = headers if headers is not None else []

    def __repr__(self) -> str:
        return f"Response({self.status}, {self.body[:40]!r})"


def json_reply(status: int, document: JSON, headers: RawHeaders | None = None) -> Response:
    """Build a reply with a JSON object and a final newline, labelled text/plain as APISIX does."""
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    return Response(status, body, [TEXT_PLAIN, *(headers or ())])


def text_reply(status: int, text: str, headers: RawHeaders | None = None) -> Response:
    """Build a plain text reply, sent exactly as given."""
    return Response(status, text.encode(), [TEXT_PLAIN, *(headers or ())])


def error_page(status: int, headers: RawHeaders | None = None) -> Response:
    """Build the page for a refusal without a body of its own, the same page nginx would write."""
    if status < 300:
        return Response(status, b"", headers)
    title = _TITLES.get(status) or _phrase(status)
    page = (
        f"<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} {title}</h1></center>\r\n"
        "<hr><center>openresty</center>\r\n</body>\r\n</html>\r\n"
    )
    return Response(status, page.encode(), [TEXT_HTML, *(headers or ())])


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


NOT_FOUND = json_reply(404, {"error_msg": "404 Route Not Found"})
