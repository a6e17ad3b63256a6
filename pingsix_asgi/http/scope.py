"""Path and host of a request, from what the ASGI server says.

The raw path decides, because the decoded one no longer tells "/a%252fb" from "/a%2fb". It is passed
over when it is missing, or when something between server and gateway rewrote ``path`` alone.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

from ..errors import DownstreamError
from ..types import RawHeaders, Scope
from .path import canonical_path, encode_path

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\x00-\x20/\\?#@:\[\]\x7f]*?)\.?(?::[0-9]*)?")
"""Host with optional port; "example.com." is "example.com", as nginx has it."""
_ABSOLUTE_FORM = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
"""What stands before the path when a client speaks as if to a proxy (RFC 9112 §3.2.2).

Some servers leave it in. The Host header decides about the host, as it does with the others.
"""
_PORT = re.compile(rb"(?:[^\[\]:]|\]):([0-9]{1,9})$")
_PORTS = {"http": 80, "https": 443}
HOSTS_REMEMBERED = 1024
"""Host header values whose reading is kept; clients choose them, so there is a bound."""
_PATHS_REMEMBERED = 1024
_MAX_REMEMBERED_BYTES = 256

_known_paths: dict[bytes, tuple[str, bytes]] = {}
"""Raw paths that came lately, and their canonical forms; bounded as hosts are."""


def read_path(scope: Scope) -> tuple[str, bytes]:
    """Return the canonical path, decoded and encoded.

    Raises DownstreamError 400 for a bad one, and for one below ``root_path`` that leads out of it.
    """
    raw = scope.get("raw_path")
    path: str = scope["path"]
    if not raw:
        return _within_root(canonical_path(encode_path(path)), scope)
    known = _known_paths.get(raw)
    if known is not None and known[0] == path:
        return known
    try:
        found = canonical_path(raw)
    except DownstreamError:
        origin = _ABSOLUTE_FORM.match(raw)
        if origin is None:
            raise
        return _within_root(canonical_path(raw[origin.end() :] or b"/"), scope)
    if found[0] == path:
        if len(raw) <= _MAX_REMEMBERED_BYTES:
            if len(_known_paths) >= _PATHS_REMEMBERED:
                _known_paths.clear()
            _known_paths[raw] = found
        return found
    if unquote(raw.decode("latin-1")) == path:
        return _within_root(found, scope)
    raw = raw.partition(b"?")[0]  # some test clients leave the query in
    if unquote(raw.decode("latin-1")) != path:
        raw = encode_path(path)
    return _within_root(canonical_path(raw), scope)


def _within_root(found: tuple[str, bytes], scope: Scope) -> tuple[str, bytes]:
    """Return a canonical path, unless only the path as sent lies below ``root_path``.

    Apps take that prefix away only where it stands: a path that has left it would be matched here
    with it and there without. One that is canonical as sent cannot leave, so it is not asked.
    """
    root = (scope.get("root_path") or "").rstrip("/") + "/"
    if f"{scope['path']}/".startswith(root) and not f"{found[0]}/".startswith(root):
        raise DownstreamError("request path leads out of the root path")
    return found


def read_host(headers: RawHeaders) -> str:
    """Return the Host header in lower case without its port; "" without one.

    Raises DownstreamError 400 for several (RFC 9112 §3.2: nobody may pick one of them) and for one
    that is no host name.
    """
    found = None
    for name, value in headers:
        if name == b"host":
            if found is not None:
                raise DownstreamError("more than one Host header")
            found = value
    return "" if found is None else _host_name(found)


@lru_cache(HOSTS_REMEMBERED)
def _host_name(value: bytes) -> str:
    match = _HOST.fullmatch(value.decode("latin-1").lower())
    if match is None:
        raise DownstreamError("bad Host header")
    return match[1]


def odd_port(headers: RawHeaders, scheme: str) -> str:
    """Return ":port" if the Host header names one that is not the scheme's, else ""."""
    for name, value in headers:
        if name == b"host":
            found = _PORT.search(value)
            port = int(found[1]) if found else 0
            return f":{port}" if port and port != _PORTS.get(scheme) else ""
    return ""
