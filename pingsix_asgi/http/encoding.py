"""Content codings: what a client accepts, how a body is encoded and decoded."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

try:
    import brotli  # type: ignore[import-untyped]  # ships no types
except ImportError:  # the extra [brotli] is not installed
    brotli = None

_ANY_ZLIB = zlib.MAX_WBITS | 32

Decoder: TypeAlias = Callable[[bytes, int], bytes]
"""Decodes a complete body to at most so many bytes."""


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


def decoder(coding: bytes | None) -> Decoder | None:
    """Return what decodes a complete body, or None for a coding that is not known here.

    The decoder raises ValueError for a broken body, and stops at its limit, so that a small body
    cannot become a huge one.
    """
    match (coding or b"").strip().lower():
        case b"" | b"identity":
            return _unchanged
        case b"gzip" | b"x-gzip" | b"deflate":
            return _inflate
        case b"br" if brotli is not None:
            return _unbrotli
    return None


def _unchanged(body: bytes, max_bytes: int) -> bytes:
    return body[:max_bytes]


def _inflate(body: bytes, max_bytes: int) -> bytes:
    try:
        return zlib.decompressobj(_ANY_ZLIB).decompress(body, max_bytes)
    except zlib.error as error:
        raise ValueError(str(error)) from None


def _unbrotli(body: bytes, max_bytes: int) -> bytes:
    try:
        decompressor = brotli.Decompressor()
        decoded: bytes = decompressor.process(body, output_buffer_limit=max_bytes)[:max_bytes]
    except brotli.error as error:
        raise ValueError(str(error)) from None
    return decoded


def weaken(etag: bytes | None) -> bytes | None:
    """Return the weak form of an entity tag; None for what is not a tag."""
    if etag is None or etag.startswith(b"W/"):
        return etag
    return b"W/" + etag if etag.startswith(b'"') else None
