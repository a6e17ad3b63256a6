"""Compression of responses, whatever the coding: which responses, which headers, when to flush.

The headers are decided and the bytes made after every other plugin had its turn
(delayed_header_filter, delayed_body_filter), so what the client gets is compressed exactly once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from ..context import Context
from ..errors import UpstreamProtocolError
from ..http.encoding import Decoding, accepts, decoding, weaken
from ..http.headers import Headers
from ..types import JSON
from .base import Plugin, PluginConf
from .body import has_body


def _list_or_star(value: JSON) -> JSON:
    is_list = isinstance(value, list) and value and all(isinstance(v, str) and v for v in value)
    if not is_list and value != "*":
        raise ValueError("object matches none of the required")
    return value


Types: TypeAlias = Annotated[list[str] | Literal["*"], BeforeValidator(_list_or_star)]
Encoder: TypeAlias = Callable[[bytes, bool, bool], bytes]
"""Gives the bytes to send for (chunk, flush, last)."""

MAX_PIECE_BYTES: Final = 64 * 1024 * 1024
"""What one piece of a body may decode to: so much is in memory at once."""


def _version(number: float) -> float:
    if number not in (1.0, 1.1):
        raise ValueError("matches none of the enum values")
    return number


class CompressionConf(PluginConf):
    """Which responses are compressed."""

    types: Types = Field(default=["text/html"])
    """Media types to compress, or ``*`` for all."""
    min_length: Annotated[int, Field(ge=1)] = 20
    """Bytes; a response without Content-Length is always long enough."""
    http_version: Annotated[float, AfterValidator(_version)] = 1.1
    """The lowest HTTP version of a request whose response is compressed."""
    vary: bool = False
    """Send ``Vary: Accept-Encoding``."""
    decompression: bool = False
    """Decode what the target compressed for a client that does not accept it. The response is
    aborted when its body is broken, or grows to more than 100 times its size (4 MiB are free).
    """


class Compression(Plugin):
    """The common part of gzip and brotli; a subclass knows its coding."""

    coding: ClassVar[bytes]
    aliases: ClassVar[tuple[bytes, ...]] = ()

    def __init__(self, conf: CompressionConf) -> None:
        self._types = (
            None if conf.types == "*" else frozenset(name.lower().encode() for name in conf.types)
        )
        self._min_length = conf.min_length
        self._allows_http_10 = conf.http_version == 1.0
        self._vary = conf.vary
        self._decompression = conf.decompression

    def encoder(self) -> Encoder:
        """Start to compress one body."""
        raise NotImplementedError

    def delayed_header_filter(self, ctx: Context) -> None:
        headers = ctx.response.headers
        coding = headers.get(b"content-encoding")
        if coding is not None:
            if self._decompression:
                self._decode_for_client(ctx, coding)
            return
        if not self._is_eligible(ctx, headers):
            return
        if self._vary:
            headers.add_vary(b"Accept-Encoding")
        if not accepts(ctx.request.headers.combined(b"accept-encoding"), self.coding):
            return
        is_streamed = headers.get(b"content-length") is None
        self._replace_body(headers)
        headers.append(b"content-encoding", self.coding)
        ctx.note(self, (self.encoder(), is_streamed))

    def delayed_body_filter(self, ctx: Context, chunk: bytes, last: bool) -> bytes:
        noted: tuple[Encoder, bool] | None = ctx.noted(self)
        if noted is None:
            return chunk
        encode, is_streamed = noted
        return encode(chunk, is_streamed, last)

    def _is_eligible(self, ctx: Context, headers: Headers) -> bool:
        """Tell whether the response could be compressed for a client that wants it."""
        kind = headers.get(b"content-type")
        if kind is None:
            return False
        media_type = kind.partition(b";")[0].strip().lower()
        if self._types is not None and media_type not in self._types:
            return False
        if ctx.response.status == 206 or not has_body(ctx):
            return False
        if not self._allows_http_10 and ctx.scope.get("http_version") == "1.0":
            return False
        length = headers.get(b"content-length")
        if length is not None and int(length) < self._min_length:
            return False
        return b"no-transform" not in (headers.combined(b"cache-control") or b"").lower()

    def _decode_for_client(self, ctx: Context, coding: bytes) -> None:
        coding = coding.strip().lower()
        if coding != self.coding and coding not in self.aliases:
            return
        accepted = ctx.request.headers.combined(b"accept-encoding")
        if accepts(accepted, self.coding) or not has_body(ctx) or ctx.response.status == 206:
            return
        body = decoding(coding)
        if body is None:
            return
        headers = ctx.response.headers
        headers.remove(b"content-encoding")
        self._replace_body(headers)
        headers.add_vary(b"Accept-Encoding")
        ctx.note(self, (partial(_decode, body), True))

    @staticmethod
    def _replace_body(headers: Headers) -> None:
        """Drop or weaken what describes the body byte for byte."""
        etag = headers.get(b"etag")
        weak = weaken(etag)
        headers.remove(b"content-length", b"accept-ranges")
        if etag is not None and weak != etag:
            headers.remove(b"etag")
            if weak is not None:
                headers.append(b"etag", weak)


def _decode(body: Decoding, chunk: bytes, flush: bool, last: bool) -> bytes:
    """Decode a piece of a body. Raises UpstreamProtocolError when that cannot be done."""
    try:
        out = body.feed(chunk, MAX_PIECE_BYTES + 1)
        if len(out) > MAX_PIECE_BYTES:
            raise ValueError(f"a piece of it decodes to more than {MAX_PIECE_BYTES} bytes")
        if last:
            body.finish()
    except ValueError as error:
        raise UpstreamProtocolError(f"the response cannot be decoded: {error}") from None
    return out
