"""Who may use the Admin API: keys with roles, addresses, origins."""

from __future__ import annotations

import ipaddress
from hashlib import sha256
from hmac import compare_digest
from typing import Final
from urllib.parse import urlsplit

from ...model.setting_sections import Admin
from ...types import RawHeaders
from .exchange import Refusal, Request

_PREFLIGHT: Final[RawHeaders] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET, PUT, OPTIONS, DELETE, PATCH"),
    (b"access-control-max-age", b"3600"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-allow-credentials", b"true"),
]
_CORS: Final[RawHeaders] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-expose-headers", b"*"),
    (b"access-control-max-age", b"3600"),
]


class Access:
    """Judges requests by the options of the Admin API."""

    def __init__(self, options: Admin) -> None:
        self._options = options
        self._keys = [(_digest(key.key), key.role) for key in options.keys]
        self._clients = [ipaddress.ip_network(text, strict=False) for text in options.allow_admin]

    def check(self, request: Request) -> None:
        """Raise Refusal unless the client may do what it asks for."""
        if self._clients and not self._is_allowed_client(request.client):
            raise Refusal(403, "Forbidden")
        if not self._options.admin_key_required:
            # any web page could write to an API without keys, also under a name it owns
            if _is_cross_origin(request) or _is_named(request.headers.get("host")):
                raise Refusal(403, "Forbidden")
            return
        given = (
            request.query.get("api_key")
            or request.headers.get("x-api-key")
            or request.cookie("x_api_key")
        )
        if not given:
            raise _unauthorized("missing apikey")
        role = self._role(given)
        if role is None:
            raise _unauthorized("wrong apikey")
        if role == "viewer" and request.method not in ("GET", "HEAD"):
            raise _unauthorized("invalid method for role viewer")

    def cors(self, request: Request) -> RawHeaders:
        """Return the CORS headers of an answer."""
        if not self._options.enable_admin_cors or not self._options.admin_key_required:
            return []
        return _PREFLIGHT if request.method == "OPTIONS" else _CORS

    def _role(self, given: str) -> str | None:
        """Compare with every key in constant time, so that time tells nothing about any."""
        digest, found = _digest(given), None
        for known, role in self._keys:
            if compare_digest(digest, known):
                found = found or role
        return found

    def _is_allowed_client(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        return any(address in network for network in self._clients)


def _unauthorized(why: str) -> Refusal:
    return Refusal(401, {"error_msg": "failed to check token", "description": why})


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()


def _is_named(host: str | None) -> bool:
    """Tell whether a Host is a name that a web page could have pointed at this machine."""
    if host is None:  # no browser
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name != "localhost" and not ipaddress.ip_address(name)
    except ValueError:
        return True


def _is_cross_origin(request: Request) -> bool:
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    try:
        return urlsplit(origin).netloc != request.headers.get("host")
    except ValueError:
        return True
