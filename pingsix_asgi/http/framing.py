"""What delimits a message and what belongs to one hop only. Ambiguity is refused, never repaired.

Source: RFC 9112 §6 (message body), RFC 9110 §7.6.1 (Connection), §8.6 (Content-Length).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ..errors import DownstreamError
from ..types import RawHeaders

TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that concern one connection; each hop writes its own."""

NEVER_NOMINATED: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"set-cookie",
        b"transfer-encoding",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
"""Fields that Connection cannot make hop-by-hop: the other end decides by them."""

NOT_IN_TRAILERS: Final = (
    HOP_BY_HOP | NEVER_NOMINATED | {b"content-range", b"date", b"server", b"www-authenticate"}
)
"""Fields that are dropped from trailers: they frame, route or authorize (RFC 9110 §6.5.1)."""

NO_BODY: Final = -1
CHUNKED: Final = -2
UNSAID: Final = -3
"""HTTP/2 and later need no framing field: only reading tells whether there is a body."""

_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_PLAIN_OPTIONS: Final = frozenset({b"keep-alive", b"close", b"upgrade", b"te", b""})


def nominated(values: Iterable[bytes]) -> set[bytes]:
    """Return the fields that Connection lines make hop-by-hop, protected ones left out."""
    names = {token.strip(b" \t").lower() for value in values for token in value.split(b",")}
    return names - _PLAIN_OPTIONS - NEVER_NOMINATED


def body_framing(fields: RawHeaders, http_version: str) -> int:
    """Return the length of a request's body, or NO_BODY, CHUNKED or UNSAID.

    Raises DownstreamError 400 for more than one framing, 501 for a coding other than chunked.
    """
    length: bytes | None = None
    coding: bytes | None = None
    for name, value in fields:
        if name == b"content-length":
            if length is not None and length != value:
                raise DownstreamError("several different content-length fields")
            length = value
        elif name == b"transfer-encoding":
            if coding is not None:
                raise DownstreamError("several transfer-encoding fields")
            coding = value.strip(b" \t").lower()
    if coding is not None:
        if length is not None or http_version != "1.1":
            raise DownstreamError("ambiguous framing: transfer-encoding is not allowed here")
        if coding != b"chunked":
            raise DownstreamError("unknown transfer-encoding", status=501)
        return CHUNKED
    if length is None:
        return NO_BODY if http_version.startswith("1") else UNSAID
    if _DIGITS.fullmatch(length) is None:
        raise DownstreamError("bad content-length")
    return int(length)


def is_given_up(fields: RawHeaders) -> bool:
    """Tell whether the server in front may have given up on a request's body.

    Some do at an Upgrade that they do not know, and read the body as the next request.
    """
    for name, _ in fields:
        if name == b"upgrade":
            break
    else:
        return False
    return announced_length(fields) > 0 or any(name == b"transfer-encoding" for name, _ in fields)


def check_absence(fields: RawHeaders) -> None:
    """Look at a body that was read and is empty. Raises DownstreamError if it was given up."""
    if is_given_up(fields):
        raise DownstreamError("an upgrade with a body that the server did not read")


def announced_length(fields: RawHeaders) -> int:
    """Return what Content-Length says, 0 without a usable one."""
    for name, value in fields:
        if name == b"content-length" and _DIGITS.fullmatch(value) is not None:
            return int(value)
    return 0
