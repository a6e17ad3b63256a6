"""Compress responses with brotli (RFC 7932)."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Literal

from pydantic import Field

from ..errors import SchemaError
from ..plugin.compression import Compression, CompressionConf, Encoder

_MODES = ("MODE_GENERIC", "MODE_TEXT", "MODE_FONT")
_DEFAULT_WINDOW = 22


class Brotli(Compression):
    """Compress what the client accepts as br; decides before gzip.

    Needs the extra ``pingsix-asgi[brotli]``. Source: apisix/plugins/brotli.lua; ``decompression``
    is PingSIX's. Differs: Accept-Encoding is read with its qualities (q=0.0 refuses); partial
    (206) and no-transform responses stay as they are.
    """

    name = "brotli"
    priority = 996
    coding = b"br"

    class Conf(CompressionConf):
        comp_level: Annotated[int, Field(ge=0, le=11)] = 6
        """0 is fast, 11 is small."""
        mode: Annotated[int, Field(ge=0, le=2)] = 0
        """0 any, 1 text, 2 fonts."""
        lgwin: Literal[0, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24] = 19
        """Base 2 logarithm of the window in bytes; 0 leaves it to the library."""
        lgblock: Literal[0, 16, 17, 18, 19, 20, 21, 22, 23, 24] = 0
        """Base 2 logarithm of the block in bytes; 0 leaves it to the library."""

    def __init__(self, conf: Conf) -> None:
        super().__init__(conf)
        try:
            self._library = import_module("brotli")
        except ImportError:
            raise SchemaError("brotli needs the extra: pip install pingsix-asgi[brotli]") from None
        self._options = {
            "mode": getattr(self._library, _MODES[conf.mode]),
            "quality": conf.comp_level,
            "lgwin": conf.lgwin or _DEFAULT_WINDOW,
            "lgblock": conf.lgblock,
        }

    def encoder(self) -> Encoder:
        compressor = self._library.Compressor(**self._options)

        def encode(chunk: bytes, flush: bool, last: bool) -> bytes:
            out: bytes = compressor.process(chunk) if chunk else b""
            if last:
                out += compressor.finish()
            elif flush and chunk:
                out += compressor.flush()
            return out

        return encode
