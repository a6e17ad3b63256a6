"""Content codings: what a client accepts, how a body is encoded and decoded."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

try:
    import brotli  # type: ignore[import-untyped]  # ships no types
except ImportError:  # the extra [brotli] is not installed
    brotli = None

_GZIP = zlib.MAX_WBITS | 16
_RAW_DEFLATE = -zlib.MAX_WBITS

_SLICE = 16_384
"""Bytes inflated in one call: what is left of them is copied once for each gzip member."""

FREE_BYTES: Final = 4 * 1024 * 1024
MAX_RATIO: Final = 100
"""A body may decode to so many bytes, and so many times its size, more is a bomb. Envoy's ratio."""

Decoder: TypeAlias = Callable[[bytes, int], bytes]
"""Decodes a body that may be cut off to at most so many bytes."""


@lru_cache(maxsize=256)
def accepts(header: bytes | None, coding: bytes) -> bool:
    """Tell whether an Accept-Encoding line allows a coding (RFC 9110 §12.5.3).

    A coding counts when it, or else ``*``, is listed with a quality above 0.
    """
    if not header:
        return False
    qualities: dict[bytes, float] = {}
    for element in header.lower().split(b","):
        name, *params = (part.strip() for part in element.split(b";"))
        qualities[name] = _quality(params)
    return qualities.get(coding, qualities.get(b"*", 0.0)) > 0.0


def _quality(params: list[bytes]) -> float:
    for param in params:
        name, _, value = param.partition(b"=")
        if name.strip() == b"q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


class Stream(Protocol):
    """A body being decoded. Raises ValueError for a broken one."""

    @property
    def is_whole(self) -> bool:
        """What came so far is a complete body."""

    def feed(self, data: bytes, max_bytes: int) -> bytes:
        """Decode the next bytes. What is more than ``max_bytes`` (at least 1) is lost."""


class Decoding:
    """One body being decoded piece by piece, never to much more than it can honestly be."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._taken = self._given = 0

    def feed(self, data: bytes, max_bytes: int) -> bytes:
        """Decode the next bytes to at most ``max_bytes``; there is no going on after more.

        Raises ValueError when the body is broken or grows too much.
        """
        self._taken += len(data)
        room = FREE_BYTES + MAX_RATIO * self._taken - self._given
        out = self._stream.feed(data, min(room, max_bytes) + 1)
        if len(out) > room and max_bytes > room:
            raise ValueError(f"it decodes to more than {MAX_RATIO} times its size")
        self._given += len(out)
        return out[:max_bytes]

    def finish(self) -> None:
        """Raise ValueError unless the body came to its end."""
        if self._taken and not self._stream.is_whole:
            raise ValueError("it ends too early")


def decoding(coding: bytes | None) -> Decoding | None:
    """Begin to decode one body; None for a coding that is not known here."""
    stream = _stream(coding)
    return None if stream is None else Decoding(stream)


def decoder(coding: bytes | None) -> Decoder | None:
    """Return what decodes as much of a body as there is, or None for an unknown coding.

    It raises ValueError for a broken body.
    """
    if _stream(coding) is None:
        return None

    def decode(body: bytes, max_bytes: int) -> bytes:
        stream = _stream(coding)
        return b"" if stream is None else stream.feed(body, max_bytes)[:max_bytes]

    return decode


def _stream(coding: bytes | None) -> Stream | None:
    match (coding or b"").strip().lower():
        case b"" | b"identity":
            return _Identity()
        case b"gzip" | b"x-gzip":
            return _Gunzip()
        case b"deflate":
            return _Inflate()
        case b"br" if brotli is not None:
            return _Unbrotli()
    return None


class _Identity:
    is_whole = True

    def feed(self, data: bytes, max_bytes: int) -> bytes:
        return data[:max_bytes]


class _Gunzip:
    """Any number of members, one after the other (RFC 1952 §2.2), with zeros between or behind."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)

    @property
    def is_whole(self) -> bool:
        return self._member.eof

    def feed(self, data: bytes, max_bytes: int) -> bytes:
        out = bytearray()
        for start in range(0, len(data), _SLICE):
            part = data[start : start + _SLICE]
            while part and len(out) < max_bytes:
                if self._member.eof:
                    part = part.lstrip(b"\0")
                    if not part:
                        break
                    self._member = zlib.decompressobj(_GZIP)
                out += _decompress(self._member, part, max_bytes - len(out))
                part = self._member.unused_data
        return bytes(out)


class _Inflate:
    """zlib (RFC 1950), or raw deflate, which is what some servers call by the same name."""

    def __init__(self) -> None:
        self._start = b""
        self._inner: zlib._Decompress | None = None

    @property
    def is_whole(self) -> bool:
        return self._inner is not None and self._inner.eof

    def feed(self, data: bytes, max_bytes: int) -> bytes:
        if self._inner is None:
            data = self._start + data
            if len(data) < 2:
                self._start = data
                return b""
            is_zlib = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
            self._inner = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else _RAW_DEFLATE)
        return _decompress(self._inner, data, max_bytes)


class _Unbrotli:
    def __init__(self) -> None:
        self._inner = brotli.Decompressor()

    @property
    def is_whole(self) -> bool:
        return bool(self._inner.is_finished())

    def feed(self, data: bytes, max_bytes: int) -> bytes:
        try:
            out: bytes = self._inner.process(data, output_buffer_limit=max_bytes)
            while not self._inner.can_accept_more_data() and len(out) < max_bytes:
                out += self._inner.process(b"", output_buffer_limit=max_bytes - len(out))
        except brotli.error as error:
            raise ValueError(str(error)) from None
        return out


def _decompress(inner: zlib._Decompress, data: bytes, max_bytes: int) -> bytes:
    try:
        return inner.decompress(data, max_bytes)
    except zlib.error as error:
        raise ValueError(str(error)) from None


def weaken(etag: bytes | None) -> bytes | None:
    """Return the weak form of an entity tag; None for what is not a tag."""
    if etag is None or etag.startswith(b"W/"):
        return etag
    return b"W/" + etag if etag.startswith(b'"') else None
