"""Give every request an id that upstreams, logs and the client share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from random import getrandbits, randrange
from typing import Annotated, Literal

from pydantic import Field

from ..context import Context
from ..expr.request import REQUEST_ID
from ..plugin.base import Plugin, PluginConf, Reply

_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""A random digit with the two bits of RFC 9562's variant put in."""
_NANO_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KSUID_EPOCH = 1_400_000_000
_KSUID_LENGTH = 27


class RangeID(PluginConf):
    """The form of ``range_id`` ids."""

    length: Annotated[int, Field(ge=6)] = 16
    """Characters."""
    char_set: Annotated[str, Field(min_length=6)] = (
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIGKLMNOPQRSTUVWXYZ0123456789"
    )
    """Characters to choose from."""


class RequestID(Plugin):
    """Keep the client's id or make one, send it upstream, and tell it to the client.

    Ids identify, they are not secrets: they come from the fast generator, which Python seeds anew
    in every forked worker. Source: apisix/plugins/request-id.lua.
    """

    name = "request-id"
    priority = 12015

    class Conf(PluginConf):
        header_name: Annotated[str, Field(min_length=1, pattern="^[!-9;-~]+$")] = "X-Request-Id"
        """Header with the id, of requests and responses."""
        include_in_response: bool = True
        """Tell the client."""
        algorithm: Literal["uuid", "nanoid", "range_id", "ksuid", "uuidv7"] = "uuid"
        """How an id is made."""
        range_id: RangeID = RangeID()
        """The form of ``range_id`` ids."""

    def __init__(self, conf: Conf) -> None:
        self._header = conf.header_name.lower().encode("ascii")
        self._echo = conf.include_in_response
        self._make = _maker(conf.algorithm, conf.range_id)

    def rewrite(self, ctx: Context) -> Reply:
        headers = ctx.request.headers
        sent = headers.get(self._header)
        if sent:
            text, value = sent.decode("latin-1"), sent
        else:
            text = self._make()
            value = text.encode("utf-8")
            if sent is None:
                headers.append(self._header, value)
            else:
                headers.set(self._header, value)
        if ctx.state is None:
            ctx.state = {}
        ctx.state[REQUEST_ID] = text
        if self._echo:
            ctx.state[self] = value
        return None

    def header_filter(self, ctx: Context) -> None:
        value: bytes | None = ctx.noted(self)
        if value is None:
            return  # somebody answered before our rewrite
        headers = ctx.response.headers
        sent = headers.get(self._header)
        if sent is None:
            headers.append(self._header, value)
        elif not sent:
            headers.set(self._header, value)


def _maker(algorithm: str, range_id: RangeID) -> Callable[[], str]:
    match algorithm:
        case "nanoid":
            return lambda: _pick(_NANO_ALPHABET, 21)
        case "range_id":
            return lambda: _pick(range_id.char_set, range_id.length)
        case "ksuid":
            return _ksuid
        case "uuidv7":
            return _uuid7
    return _uuid4


def _uuid4() -> str:
    """Take an id from a stock of them: what makes one is only in the cache while it makes many."""
    if not _stock:
        _stock.extend(_fresh_uuid4() for _ in range(_STOCK))
    return _stock.pop()


def _fresh_uuid4() -> str:
    text = getrandbits(128).to_bytes(16, "big").hex()
    variant = _VARIANTS[text[16]]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


_STOCK = 64
_stock: list[str] = []
os.register_at_fork(after_in_child=_stock.clear)  # a forked worker must not give the same ids


def _uuid7() -> str:
    """RFC 9562 §5.7: 48 bits of Unix milliseconds, then random bits."""
    text = f"{int(time.time() * 1000):012x}{getrandbits(80):020x}"
    variant = _VARIANTS[text[16]]
    return f"{text[:8]}-{text[8:12]}-7{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def _ksuid() -> str:
    """Seconds since 2014-05-13 in 32 bits and 128 random bits, as 27 base-62 digits."""
    stamp = int(time.time()) - _KSUID_EPOCH
    number = int.from_bytes(stamp.to_bytes(4, "big") + os.urandom(16), "big")
    digits = []
    for _ in range(_KSUID_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))


def _pick(alphabet: str, length: int) -> str:
    size = len(alphabet)
    return "".join([alphabet[randrange(size)] for _ in range(length)])
