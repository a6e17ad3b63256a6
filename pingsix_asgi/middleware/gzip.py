"""Compress responses with gzip."""

from __future__ import annotations

import zlib
from typing import Annotated

from pydantic import Field

from ..plugin.base import PluginConf
from ..plugin.compression import Compression, CompressionConf, Encoder

_GZIP = zlib.MAX_WBITS | 16


class Buffers(PluginConf):
    """nginx's output buffers. Accepted and without effect: a chunk is compressed as it comes."""

    number: Annotated[int, Field(ge=1)] = 32
    """No effect."""
    size: Annotated[int, Field(ge=1)] = 4096
    """No effect."""


class Gzip(Compression):
    """Compress what the client accepts as gzip.

    A response without Content-Length is flushed with every chunk, so events arrive when they are
    sent. Source: apisix/plugins/gzip.lua; ``decompression`` is PingSIX's. Differs: ``buffers`` has
    no effect; Accept-Encoding is read with its qualities; partial (206) and no-transform responses
    stay as they are.
    """

    name = "gzip"
    priority = 995
    coding = b"gzip"
    aliases = (b"x-gzip",)

    class Conf(CompressionConf):
        comp_level: Annotated[int, Field(ge=1, le=9)] = 1
        """1 is fast, 9 is small."""
        buffers: Buffers = Buffers()
        """Without effect."""

    def __init__(self, conf: Conf) -> None:
        super().__init__(conf)
        self._level = conf.comp_level

    def encoder(self) -> Encoder:
        compressor = zlib.compressobj(self._level, zlib.DEFLATED, _GZIP)

        def encode(chunk: bytes, flush: bool, last: bool) -> bytes:
            out = compressor.compress(chunk) if chunk else b""
            if last:
                return out + compressor.flush()
            if flush and chunk:
                return out + compressor.flush(zlib.Z_SYNC_FLUSH)
            return out

        return encode
