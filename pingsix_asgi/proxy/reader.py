"""Read one response after another from bytes, strictly; no I/O.

llhttp already refuses obs-fold, bare CR or LF, control characters, several or malformed
Content-Length, Content-Length beside Transfer-Encoding, and bad chunks. What it lets through and
two readers could understand differently is refused here.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from ..errors import UpstreamProtocolError
from ..http.framing import HOP_BY_HOP, NOT_IN_TRAILERS, nominated
from ..types import RawHeaders

HELD_BYTES: Final = 64 * 1024
"""A sized response up to this is awaited whole: one message instead of several, and a node that
dies in the middle costs a 502 rather than an aborted client connection."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""Of a response, 1xx responses before it included, and of its trailers; nginx allows 4 or 8 KiB by
default."""

_MAX_NAMES: Final = 1024
_PLAIN_CONNECTION: Final = frozenset({b"keep-alive", b"Keep-Alive", b"close", b"Close"})


class _Names(dict[bytes, bytes | Literal[False] | None]):
    """Field name as sent -> in lower case; b"" for Server, None for what needs a decision.

    Date is False, and dropped: the server in front of us writes its own, as nginx does.
    A memo of a pure function; bounded, since nodes choose names.
    """

    def __missing__(self, name: bytes) -> bytes | Literal[False] | None:
        plain: bytes | Literal[False] | None = name.lower()
        if plain in HOP_BY_HOP:
            plain = None
        elif plain == b"date":
            plain = False
        elif plain == b"server":
            plain = b""
        if len(self) < _MAX_NAMES:
            self[name] = plain
        return plain


_names: Final = _Names()


class _Known(NamedTuple):
    """A response head that was read before, and how much body has to follow."""

    status: int
    headers: RawHeaders
    server: bytes | None
    keep_alive: bool
    length: int


_LENGTH: Final = _Known._fields.index("length")
_known: Final[dict[bytes, _Known]] = {}
"""Heads as they were sent, of responses that came in one piece.

A memo of a pure function: a busy node sends the same head many times before its Date changes, and
to find it here costs a quarter of reading it. Bounded in number and size, since nodes choose.
"""
_MAX_KNOWN: Final = 1024
_MAX_KNOWN_BYTES: Final = 1024


class _Stop(Exception):
    """Raised in a callback to make the parser stop."""


class ResponseReader:
    """The state of one response; ``expect`` begins the next."""

    __slots__ = (
        "_head_bytes",
        "_is_clean",
        "_is_first",
        "_is_framed",
        "_is_head",
        "_nominating",
        "_parser",
        "_sink",
        "_wants_upgrade",
        "announces_trailers",
        "chunked",
        "complete",
        "continued",
        "has_head",
        "headers",
        "keep_alive",
        "pieces",
        "ready",
        "server",
        "status",
        "trailers",
        "until_close",
        "upgraded",
    )

    _is_clean: bool
    """The last response was recalled: all but what it set is as ``expect`` leaves it."""

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self.pieces: list[bytes] = []
        """Body bytes that nobody has taken yet."""
        self.expect(is_head=False)

    def expect(self, is_head: bool, wants_upgrade: bool = False) -> None:
        """Begin to read the response to a request; ``is_head`` for HEAD, which has no body."""
        self._is_head = is_head
        self._wants_upgrade = wants_upgrade
        self._is_clean = False
        self._head_bytes = 0
        self._is_first = not is_head and not wants_upgrade
        self._is_framed = False
        self._nominating: list[bytes] | None = None
        self.status = 0
        self.headers: RawHeaders = []
        """End-to-end fields in order, without Server."""
        self._sink = self.headers
        self.server: bytes | None = None
        if self.pieces:
            self.pieces = []
        self.trailers: RawHeaders | None = None
        self.announces_trailers = False
        self.has_head = False
        """Status and headers of the final response are known."""
        self.complete = False
        self.keep_alive = False
        self.chunked = False
        self.until_close = False
        self.ready = False
        """There is something to pass on: a head, and the body too if it is awaited whole."""
        self.continued = False
        """The node said 100 Continue."""
        self.upgraded: bytes | None = None
        """What followed a 101 response that was asked for."""

    def expect_another(self) -> None:
        """Begin to read the response to a request with a body, after one of the same kind."""
        if self._is_clean:
            self._is_first = True
            self.has_head = self.complete = self.ready = False
        else:
            self.expect(is_head=False)

    @property
    def received_any(self) -> bool:
        """Some byte of the response has arrived."""
        return self.has_head or self._head_bytes > 0

    def feed(self, data: bytes) -> None:
        """Read on. Raises UpstreamProtocolError; nothing may be fed after that."""
        if self._is_first:
            self._is_first = False
            end = data.find(b"\r\n\r\n") + 4
            known = _known.get(data[:end])
            if known is None or len(data) - end != known[_LENGTH]:
                self._read_first(data, end)
                return
            # the parser never sees it
            self.status, headers, self.server, self.keep_alive, length = known
            self.headers = headers.copy()
            if length:
                self.pieces.append(data[end:])
            self._is_clean = self.has_head = self.complete = self.ready = True
        else:
            self._parse(data)

    def _read_first(self, data: bytes, end: int) -> None:
        """Read the beginning of a response whose head is not known."""
        if self._is_clean:
            self.expect(is_head=False)
            self._is_first = False
        self._parse(data)
        if self.complete and end <= _MAX_KNOWN_BYTES:
            self._remember(data, end)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.upgraded = data[upgrade.args[0] :]
        except HttpParserError as error:
            if not self._stopped_in_order(data):
                reason = error.__context__ or error
                raise UpstreamProtocolError(f"broken response: {reason}") from None
        if not self._is_framed:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._check_head_size()
            if self.has_head:
                self._is_framed = True
                if not self.complete:
                    self._head_bytes = 0
                    self._find_framing()
        elif self.chunked:
            self._head_bytes = 0 if self.pieces else self._head_bytes + len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise UpstreamProtocolError("chunk extension or trailers without end")

    def _remember(self, data: bytes, end: int) -> None:
        """Keep a head, unless ``data`` holds more than it and the body that it announces."""
        length = sum(map(len, self.pieces))
        if len(data) - end != length or self.chunked:
            return
        if any(name == b"set-cookie" for name, _ in self.headers):
            return  # meant for one client, so it does not come again
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        headers = self.headers.copy()
        _known[data[:end]] = _Known(self.status, headers, self.server, self.keep_alive, length)

    def end_of_stream(self) -> bool:
        """Note that the node closed; return whether the response is complete now."""
        if self.until_close:
            self.complete = self.ready = True
        return self.complete

    def drop_length(self) -> None:
        """Drop a length that is not that of the body."""
        self.headers[:] = [pair for pair in self.headers if pair[0] != b"content-length"]

    def passable_trailers(self) -> RawHeaders:
        """Return the trailers that may be passed on."""
        return [pair for pair in self.trailers or () if pair[0] not in NOT_IN_TRAILERS]

    # -- called by the parser

    def on_message_begin(self) -> None:
        if self.complete:
            raise _Stop("more than one response")

    def on_header(self, name: bytes, value: bytes) -> None:
        plain = _names[name]
        if plain:
            self._sink.append((plain, value))
        elif plain is None:
            self._decide(name.lower(), value)
        elif plain is not False:
            self.server = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._on_interim(status)
            return
        if status > 599:
            raise _Stop(f"bad status {status}")
        if self._nominating is not None:
            names = nominated(self._nominating)
            self.headers[:] = [pair for pair in self.headers if pair[0] not in names]
        self.status = status
        self.has_head = True
        self.keep_alive = self._parser.should_keep_alive()
        if status in (204, 304):  # no body, so no length either: a server would wait for one
            self.drop_length()
        if self._is_head:
            self.complete = self.ready = True
            raise _Stop  # llhttp cannot be told that no body follows
        if self.chunked and status not in (204, 304):
            if self._parser.get_http_version() != "1.1":
                raise _Stop("transfer-encoding in a response that is not HTTP/1.1")
            self._sink = self.trailers = []

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.trailers and _size(self.trailers) > MAX_HEAD_BYTES:
            raise _Stop("trailers are too large")
        if self.has_head:
            self.complete = self.ready = True
            return
        self.headers.clear()  # those of an interim response
        self.server = self._nominating = None

    # -- the rest

    def _decide(self, name: bytes, value: bytes) -> None:
        """Handle a field that is not simply passed on. In trailers all of them are dropped."""
        if self.has_head:
            return
        if name == b"connection":
            if value not in _PLAIN_CONNECTION:
                self._nominating = [*(self._nominating or ()), value]
        elif name == b"transfer-encoding":
            if self.chunked or value.strip(b" \t").lower() != b"chunked":
                raise _Stop("transfer-encoding other than chunked")
            self.chunked = True
        elif name == b"trailer":
            self.announces_trailers = True

    def _on_interim(self, status: int) -> None:
        """Note a 100, and a 101 that was asked for; drop other 1xx, which ASGI cannot pass on."""
        if status < 100 or self.chunked:
            raise _Stop(f"bad interim response {status}")
        if status == 101:
            if not self._wants_upgrade:
                raise _Stop("101 without a request to upgrade")
            self.status = status
            self.has_head = True
        elif status == 100:
            self.continued = True

    def _stopped_in_order(self, data: bytes) -> bool:
        """Tell whether a stopped parser leaves a complete response, and get ready for the next."""
        if not self.complete:
            return False
        if self._is_head and not self._head_bytes and data.find(b"\r\n\r\n") == len(data) - 4:
            self._parser = HttpResponseParser(self)
        else:
            self.keep_alive = False  # something follows the response, or we cannot tell
        return True

    def _find_framing(self) -> None:
        """Tell, of a response that has only begun, when it is ready to be passed on."""
        if self.chunked:
            self.ready = True
            return
        for name, value in self.headers:
            if name == b"content-length":
                self.ready = int(value) > HELD_BYTES
                return
        self.until_close = self.ready = True

    def _check_head_size(self) -> None:
        size = self._head_bytes
        if self.has_head:
            size = _size(self.headers)
        if size > MAX_HEAD_BYTES:
            raise UpstreamProtocolError(f"response head is larger than {MAX_HEAD_BYTES} bytes")


def _size(fields: RawHeaders) -> int:
    return sum(len(name) + len(value) + 4 for name, value in fields)
