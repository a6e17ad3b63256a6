"""The server name in a TLS ClientHello, read before OpenSSL sees the handshake.

OpenSSL settles who must show a certificate, and which versions are spoken, before it tells the name
the client asks for. Read in advance, the name chooses the whole context instead.
Source: RFC 8446 §4.1.2 and §5.1, RFC 6066 §3.
"""

from __future__ import annotations

_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0
MAX_BYTES = 65536
"""What a client may send as its hello; real ones have 200 to 2000 bytes."""


class Incomplete(Exception):
    """The hello goes on in bytes that have not arrived yet."""


class _Malformed(Exception):
    """Not what a ClientHello looks like: OpenSSL will say so to the client."""


def read_server_name(data: bytes) -> str | None:
    """Return the server name a client asks for, in lower case.

    None when it names none, or sends no ClientHello at all. Raises Incomplete.
    """
    if len(data) > MAX_BYTES:
        return None
    try:
        return _server_name(_Reader(_hello(data)))
    except _Malformed:
        return None


class _Reader:
    """Takes bytes from the front of a block."""

    def __init__(self, block: bytes) -> None:
        self._block, self._at = block, 0

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._block)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._block):
            raise _Malformed
        found, self._at = self._block[self._at : end], end
        return found

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def vector(self, width: int) -> bytes:
        """Take a block that has its length, of ``width`` bytes, in front."""
        return self.take(self.number(width))


def _hello(data: bytes) -> bytes:
    """Join the records of the first handshake message; return it without its header."""
    message, at = b"", 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        if data[at : at + 1] not in (b"", bytes((_HANDSHAKE,))):
            raise _Malformed
        if message and message[0] != _CLIENT_HELLO:
            raise _Malformed
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if len(data) < at + 5 or len(data) < at + 5 + size:
            raise Incomplete
        if size == 0:
            raise _Malformed
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
    if message[0] != _CLIENT_HELLO:
        raise _Malformed
    return message[4 : 4 + int.from_bytes(message[1:4], "big")]


def _server_name(hello: _Reader) -> str | None:
    hello.take(2 + 32)  # version, random
    hello.vector(1)  # session id
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression methods
    if hello.is_empty:
        return None
    extensions = _Reader(hello.vector(2))
    while not extensions.is_empty:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            return _host_name(_Reader(_Reader(content).vector(2)))
    return None


def _host_name(names: _Reader) -> str | None:
    while not names.is_empty:
        kind, name = names.number(1), names.vector(2)
        if kind == _HOST_NAME:
            try:
                return name.decode("ascii").lower().rstrip(".") or None
            except UnicodeDecodeError:
                raise _Malformed from None
    return None
