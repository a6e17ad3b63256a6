"""One canonical form of a request path, for matching and for what is sent upstream.

Rules (those of nginx, so that a policy on a path cannot be walked around): percent-escapes are
decoded once, "%2F" included; runs of "/" become one; "." and ".." segments are resolved (RFC 3986
§5.2.4). A bad escape, a NUL, or ".." above the root is refused with 400. Bytes that are not UTF-8
are kept as surrogate escapes, so encoding gives back the same bytes.
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ..errors import DownstreamError

_CANONICAL = re.compile(rb"(?:/[!$&'()*+,;=:@A-Za-z0-9_~-][!$&'()*+,;=:@A-Za-z0-9._~-]*)++/?|/")
"""Segments of plain characters that do not begin with a dot: most paths, and nothing to do."""
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SLASHES = re.compile(rb"/{2,}")
_SAFE = "/!$&'()*+,;=:@~"


def canonical_path(raw: bytes) -> tuple[str, bytes]:
    """Return (decoded path, encoded path) for the path of a request line, without its query.

    Raises DownstreamError 400.
    """
    if _CANONICAL.fullmatch(raw) is not None:
        return raw.decode("ascii"), raw
    if _BAD_ESCAPE.search(raw):
        raise DownstreamError("bad percent-escape in the request path")
    decoded = unquote_to_bytes(raw)
    if b"\0" in decoded or not decoded.startswith(b"/"):
        raise DownstreamError("bad request path")
    decoded = _resolve_dots(_SLASHES.sub(b"/", decoded))
    return decoded.decode("utf-8", "surrogateescape"), quote_from_bytes(decoded, _SAFE).encode()


def encode_path(path: str) -> bytes:
    """Percent-encode a decoded path (control characters and spaces included)."""
    data = path.encode("utf-8", "surrogateescape")
    return data if _CANONICAL.fullmatch(data) else quote_from_bytes(data, _SAFE).encode()


def resolve(path: str) -> str:
    """Return a decoded path without "." and ".." segments: escapes in it are text.

    Where there is none, empty segments stay: a variable without a value leaves one, as in APISIX.
    Raises DownstreamError 400 for one that leads above the root.
    """
    if "/." not in path or not path.startswith("/"):
        return path
    data = path.encode("utf-8", "surrogateescape")
    return _resolve_dots(_SLASHES.sub(b"/", data)).decode("utf-8", "surrogateescape")


def _resolve_dots(path: bytes) -> bytes:
    if b"/." not in path:
        return path
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise DownstreamError("request path leads above the root")
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)
