"""The request as plugins see and edit it."""

from __future__ import annotations

from ..types import Scope
from .headers import Headers
from .path import encode_path, resolve

NO_CLIENT = ("", 0)


class Request:
    """The request as plugins see and edit it; the server's scope is never changed.

    ``path`` is canonical: percent-decoded, no empty, "." or ".." segment (see http/path.py).
    ``target`` is the same path percent-encoded, as it goes upstream; who sets one sets both
    (``rewrite_path``). ``query`` is raw, without "?". ``host`` is lower-case, without port.
    """

    __slots__ = ("client", "headers", "host", "method", "path", "query", "scheme", "target")

    def __init__(self, scope: Scope, path: str, target: bytes, host: str) -> None:
        self.method: str = scope.get("method", "GET")
        self.path = path
        self.target = target
        self.query: bytes = scope.get("query_string", b"")
        self.headers = Headers(scope["headers"])
        self.scheme: str = scope.get("scheme", "http")
        self.host = host
        self.client: tuple[str, int] = scope.get("client") or NO_CLIENT

    def rewrite_path(self, path: str) -> None:
        """Set a new decoded path, and ``target`` with it.

        What variables brought into it leads nowhere else: "." and ".." are resolved. Raises
        DownstreamError 400 for one that leads above the root.
        """
        self.path = path = resolve(path)
        self.target = encode_path(path)
