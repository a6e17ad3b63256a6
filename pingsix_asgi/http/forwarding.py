"""The head of the request as it goes upstream, built in one pass over the client's.

Dropped: hop-by-hop fields. Replaced: X-Real-IP, X-Forwarded-Proto, -Host, -Port. Appended to:
X-Forwarded-For. What a client says about itself is believed only from a trusted peer, but what a
plugin has set is kept. The result never holds a CR, LF or NUL that we did not put there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol

from ..errors import DownstreamError
from ..types import RawHeaders, Scope
from .framing import HOP_BY_HOP, NO_BODY, TOKEN, body_framing, nominated
from .headers import Headers

HOST_PART: Final = 2
"""Index of the Host value in a head's parts: it depends on the node, so it is set last."""

TRAILERS: Final = "http.response.trailers"
"""The ASGI extension by which a server takes trailers."""

_SAID: Final = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
"""What a client, or a plugin, says of the client."""
_DECIDED: Final = HOP_BY_HOP | _SAID | {b"content-length", b"expect", b"host"}
_REFUSED_METHODS: Final = frozenset({"CONNECT", "TRACE"})
_METHODS: Final = {
    name: name.encode() + b" "
    for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_EXPECTS_A_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_BODILESS: Final = {name: line for name, line in _METHODS.items() if name not in _EXPECTS_A_BODY}
_SCHEMES: Final = {"http": b"http", "https": b"https", "ws": b"http", "wss": b"https"}
_PORTS: Final = {b"http": 80, b"https": 443}
_NOT_IN_A_QUERY: Final = re.compile(rb"[\x00-\x20\x7f]")
_NOT_IN_A_HOST: Final = re.compile(rb"[\x00-\x20\x7f/?#@,\\]")
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
_PLAIN_CONNECTION: Final = frozenset({b"keep-alive", b"Keep-Alive", b"close"})
_MAX_MEMO: Final = 1024


class RequestParts(Protocol):
    """What is read of context.Request."""

    method: str
    target: bytes
    query: bytes
    headers: Headers
    scheme: str
    host: str
    client: tuple[str, int]


class _Prefixes(dict[bytes, bytes | None]):
    """Field name -> what stands before its value, or None for a name that needs a decision.

    A memo of a pure function; bounded, since a client chooses names.
    """

    def __missing__(self, name: bytes) -> bytes | None:
        if TOKEN.fullmatch(name) is None:
            raise DownstreamError("bad header name")
        prefix = None if name in _DECIDED else b"\r\n" + name + b": "
        if len(self) < _MAX_MEMO:
            self[name] = prefix
        return prefix


class _Observed(dict[tuple[str, str, str, bytes, int], bytes]):
    """(client, scheme, host, Host field, port) -> the fields that tell the node of the client.

    A memo of a pure function, bounded: clients come back. Raises DownstreamError for a bad host.
    """

    def __missing__(self, key: tuple[str, str, str, bytes, int]) -> bytes:
        client, scheme, host, host_field, port = key
        proto = _SCHEMES.get(scheme, b"http")
        lines = [
            b"x-forwarded-proto: " + proto,
            b"x-forwarded-host: " + host.encode("latin-1", "replace"),
            f"x-forwarded-port: {port or _PORTS[proto]}".encode(),  # granian gives text
        ]
        if client:
            address = client.encode()
            lines += [b"x-real-ip: " + address, b"x-forwarded-for: " + address]
        if _NOT_IN_A_HOST.search(host_field) or any(_CONTROL.search(line) for line in lines):
            raise DownstreamError("bad host or client address")
        rendered = b"".join(b"\r\n" + line for line in lines)
        if len(self) >= _MAX_MEMO:
            self.clear()
        self[key] = rendered
        return rendered


_prefixes: Final = _Prefixes()
_observed: Final = _Observed()


class Head:
    """A request head, ready but for its Host and the field that frames its body."""

    __slots__ = ("expects_continue", "length", "observed", "parts")

    def __init__(self, parts: list[bytes], length: int) -> None:
        self.parts = parts
        """Request line, then what stands before each value and the value, in turn."""
        self.length = length
        """Length of the body, or NO_BODY, CHUNKED or UNSAID (http/framing.py)."""
        self.observed = b""
        """The fields that say what we saw of the client."""
        self.expects_continue = False

    def encode(self, framing: bytes = b"") -> bytes:
        """Return the bytes to send. Raises DownstreamError 400 for a CR, LF or NUL in a value."""
        parts = self.parts
        said = b"".join(parts)
        if len(said) - len(said.translate(None, b"\0\r\n")) != len(parts) // 2 * 2:
            raise DownstreamError("CR, LF or NUL in a header value")
        return b"%b%b%b\r\n\r\n" % (said, self.observed, framing)


class Forwarding:
    """Builds request heads. ``is_trusted`` tells of a peer's IP whether its X-Forwarded-* count.

    Default None: no peer is trusted, and X-Forwarded-For is appended to rather than reset.
    Source: APISIX ``trusted_addresses``.
    """

    __slots__ = ("_is_trusted",)

    def __init__(self, is_trusted: Callable[[str], bool] | None = None) -> None:
        self._is_trusted = is_trusted

    def plain(self, request: RequestParts, scope: Scope, host: bytes | None) -> bytes | None:
        """Return the bytes of a head to which ``host`` (None: the client's) is all there is to add.

        That is most requests without a body. None when there is something to decide: then ``head``
        is the way, and tells what is wrong, too.
        """
        method = _BODILESS.get(request.method)
        if method is None or request.query or scope.get("http_version", "1.1")[0] != "1":
            return None
        said: bytes | None = None
        parts = [method, request.target, b" HTTP/1.1\r\nhost: ", b""]
        for name, value in request.headers.raw:
            prefix = _prefixes[name]
            if prefix is not None:
                parts += (prefix, value)
            elif name == b"host" and said is None:
                said = value
            elif name != b"connection" or value not in _PLAIN_CONNECTION:
                return None
        if not said:
            return None
        parts[3] = said if host is None else host
        server = scope.get("server")
        port = server[1] or 0 if server else 0
        observed = _observed[request.client[0], request.scheme, request.host, said, port]
        head = b"".join(parts)
        if len(head) - len(head.translate(None, b"\0\r\n")) != len(parts) - 2:
            return None
        return head + observed + b"\r\n\r\n"

    def head(self, request: RequestParts, scope: Scope) -> Head:
        """Build the head of ``request``. Raises DownstreamError for what must not be passed on."""
        line = (_METHODS.get(request.method) or _other_method(request.method)) + request.target
        if request.query:
            if _NOT_IN_A_QUERY.search(request.query) is not None:
                raise DownstreamError("bad query")
            line += b"?" + request.query
        parts = [line, b" HTTP/1.1\r\nhost: ", b""]
        host: bytes | None = None
        decided: RawHeaders | None = None
        for name, value in request.headers.raw:
            prefix = _prefixes[name]
            if prefix is not None:
                parts += (prefix, value)
            elif name == b"host" and host is None:
                parts[HOST_PART] = host = value
            elif name != b"connection" or value not in _PLAIN_CONNECTION:
                if decided is None:
                    decided = []
                decided.append((name, value))
        head = Head(parts, NO_BODY)
        server = scope.get("server")
        port = server[1] or 0 if server else 0
        head.observed = _observed[
            request.client[0], request.scheme, request.host, host or b"", port
        ]
        if decided is not None or scope.get("http_version", "1.1")[0] != "1":
            self._decide(head, decided or [], request, scope)
        if head.length == NO_BODY and request.method in _EXPECTS_A_BODY:
            head.length = 0
        return head

    def _decide(self, head: Head, decided: RawHeaders, request: RequestParts, scope: Scope) -> None:
        """Handle the fields that are not passed on as they are."""
        version = scope.get("http_version", "1.1")
        connection: list[bytes] = []
        is_said = wants_trailers = False
        for name, value in decided:
            if name == b"host":
                raise DownstreamError("several host fields")
            if name == b"connection":
                connection.append(value)
            elif name == b"te":
                wants_trailers |= b"trailers" in value.lower()
            elif name == b"expect":
                head.expects_continue = _expects_continue(value, version)
            elif name in _SAID:
                is_said = True
        head.length = body_framing(decided, version)
        sent = {id(pair) for pair in scope["headers"]}
        if connection and (names := nominated(connection)):
            _drop_nominated(head.parts, names, request.headers.raw, sent)
        if version[0] != "1":
            _join_cookies(head.parts)
        if wants_trailers and TRAILERS in (scope.get("extensions") or ()):
            head.parts += (b"\r\nte: ", b"trailers", b"\r\nconnection: ", b"te")
        if is_said:
            self._add_said(head, request, scope, sent)

    def _add_said(self, head: Head, request: RequestParts, scope: Scope, sent: set[int]) -> None:
        """Put what the client, or a plugin, said of the client together with what we observed."""
        peer = (scope.get("client") or ("",))[0]
        is_trusted = self._is_trusted is not None and self._is_trusted(peer)
        kept: dict[bytes, bytes] = {}
        chain = []
        for pair in request.headers.raw:
            name, value = pair
            if name not in _SAID:
                continue
            by_client = not is_trusted and id(pair) in sent
            if name == b"x-forwarded-for":
                if not by_client or self._is_trusted is None:
                    chain.append(value)
            elif not by_client and name != b"x-real-ip":
                kept[name] = kept[name] + b", " + value if name in kept else value
        fields = dict(line.split(b": ", 1) for line in head.observed.split(b"\r\n")[1:])
        if b"x-real-ip" in fields:
            chain.append(fields[b"x-real-ip"])
        if chain:
            fields[b"x-forwarded-for"] = b", ".join(chain)
        fields.update(kept)
        head.observed = b""
        for name, value in fields.items():
            head.parts += (b"\r\n" + name + b": ", value)


def _other_method(method: str) -> bytes:
    if method in _REFUSED_METHODS:
        raise DownstreamError(f"{method} is not proxied", status=405)
    name = method.encode("latin-1", "replace")
    if TOKEN.fullmatch(name) is None:
        raise DownstreamError("bad method")
    return name + b" "


def _expects_continue(value: bytes, version: str) -> bool:
    if value.lower() != b"100-continue":
        raise DownstreamError("unknown expectation", status=417)
    return version == "1.1"


def _drop_nominated(
    parts: list[bytes], names: set[bytes], fields: RawHeaders, sent: set[int]
) -> None:
    """Drop fields named in Connection, but only lines that the client sent: it has no say over
    those that plugins add (an identity they vouch for, say), whatever their value."""
    del parts[HOST_PART + 1 :]
    for pair in fields:
        prefix = _prefixes[pair[0]]
        if prefix is not None and not (pair[0] in names and id(pair) in sent):
            parts += (prefix, pair[1])


def _join_cookies(parts: list[bytes]) -> None:
    """Put several cookie lines into one, as HTTP/1.1 wants it (RFC 9113 §8.2.3)."""
    prefix = b"\r\ncookie: "
    if parts.count(prefix) > 1:
        lines = [index for index in range(3, len(parts), 2) if parts[index] == prefix]
        parts[lines[0] + 1] = b"; ".join(parts[index + 1] for index in lines)
        for index in reversed(lines[1:]):
            del parts[index : index + 2]
