"""Authenticate by a signature over parts of the request."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from email.utils import parsedate_to_datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from ..context import Context
from ..errors import DownstreamError
from ..http.response import Response, error_page, json_reply
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..plugin.consumer import attach, attach_anonymous
from ..plugin.credentials import sole
from ..plugin.encoded import from_base64
from ..plugin.fields import Realm

Algorithm: TypeAlias = Literal["hmac-sha1", "hmac-sha256", "hmac-sha512"]
_DIGESTS = {
    "hmac-sha1": hashlib.sha1,
    "hmac-sha256": hashlib.sha256,
    "hmac-sha512": hashlib.sha512,
}
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_REQUEST_TARGET = "@request-target"


_REFUSED = "client request can't be validated"


class _Invalid(Exception):
    """The signature does not hold; the client is not told why."""


class _Malformed(_Invalid):
    """There is no signature at all; the client is told what is wrong with the header."""


class HmacAuth(Plugin):
    """Check ``Authorization: Signature keyId=…,algorithm=…,headers=…,signature=…``.

    A request that repeats this header, or a signed one, gets 400.
    Source: apisix/plugins/hmac-auth.lua.
    """

    name = "hmac-auth"
    priority = 2530
    needs_gateway = "it finds secrets on consumers"
    kind = "auth"
    encrypted = ("secret_key",)
    consumer_key = "key_id"

    class Conf(PluginConf):
        allowed_algorithms: Annotated[list[Algorithm], Field(min_length=1)] = Field(
            default=["hmac-sha1", "hmac-sha256", "hmac-sha512"]
        )
        """Algorithms that a signature may use."""
        clock_skew: Annotated[int, Field(ge=1)] = 300
        """Seconds the Date header, or else X-Date, may differ from our clock."""
        signed_headers: list[Annotated[str, Field(min_length=1, max_length=50)]] | None = None
        """Headers that every signature must cover; unset: ``date``."""
        validate_request_body: bool = False
        """Want a Digest header that fits the body."""
        max_req_body_size: Annotated[int, Field(ge=1)] = 67108864
        """Bytes; with ``validate_request_body``, larger bodies are refused."""
        hide_credentials: bool = False
        """Do not pass Authorization on."""
        realm: Realm = "hmac"
        """Realm of the challenge in a 401."""
        anonymous_consumer: Annotated[str, Field(min_length=1)] | None = None
        """Consumer that requests without a valid signature are taken for."""

    class ConsumerConf(PluginConf):
        key_id: Annotated[str, Field(min_length=1, max_length=256)]
        """What signatures name the key by."""
        secret_key: Annotated[str, Field(min_length=1, max_length=256)]
        """Key of the signatures."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._algorithms = frozenset(conf.allowed_algorithms)
        wanted = conf.signed_headers if conf.signed_headers is not None else ["date"]
        self._wanted = [name.lower() for name in wanted]
        self._challenge = f'hmac realm="{conf.realm}"'.encode()

    def setup(self, host: Host) -> None:
        self._consumers = host.consumers(self.name)
        self._now = host.clock.time

    async def rewrite(self, ctx: Context) -> Reply:
        try:
            await self._authenticate(ctx)
        except DownstreamError as error:
            return error_page(error.status)
        except _Invalid as problem:
            if self._conf.anonymous_consumer is None:
                return self._refusal(problem)
            reply = attach_anonymous(
                ctx, self._consumers, self._conf.anonymous_consumer, self._challenge
            )
            if reply is not None:
                return reply
        if self._conf.hide_credentials:
            ctx.request.headers.remove(b"authorization")
        return None

    async def _authenticate(self, ctx: Context) -> None:
        parameters = _parameters(sole(ctx.request.headers, b"authorization"))
        found = self._consumers.find(parameters["keyId"])
        if found is None:
            raise _Invalid
        names = parameters.get("headers", "").split()
        self._check_parameters(ctx, parameters["algorithm"], names)
        text = _signing_text(ctx, parameters["keyId"], names)
        digest = _DIGESTS[parameters["algorithm"]]
        wanted = hmac.new(found.conf.secret_key.encode(), text, digest).digest()
        if not hmac.compare_digest(wanted, _decoded(parameters["signature"])):
            raise _Invalid
        if self._conf.validate_request_body:
            await self._check_body(ctx)
        attach(ctx, found.consumer)

    def _check_parameters(self, ctx: Context, algorithm: str, names: list[str]) -> None:
        if algorithm not in self._algorithms:
            raise _Invalid
        lowered = [name.lower() for name in names]
        for name in self._wanted:
            if name not in lowered:
                raise _Invalid
        sent = ctx.request.headers
        date = sent.get(b"date") or sent.get(b"x-date")
        if date is None:
            raise _Invalid
        try:
            stamp = parsedate_to_datetime(date.decode("latin-1")).timestamp()
        except (ValueError, OverflowError):
            raise _Invalid from None
        if abs(self._now() - stamp) > self._conf.clock_skew:
            raise _Invalid

    async def _check_body(self, ctx: Context) -> None:
        header = sole(ctx.request.headers, b"digest")
        if header is None:
            raise _Invalid
        body = await ctx.read_body(self._conf.max_req_body_size)
        wanted = b"SHA-256=" + base64.b64encode(hashlib.sha256(body).digest())
        if not hmac.compare_digest(wanted, header):
            raise _Invalid

    def _refusal(self, problem: _Invalid) -> Response:
        text = f"{_REFUSED}: {problem}" if isinstance(problem, _Malformed) else _REFUSED
        return json_reply(401, {"message": text}, [(b"www-authenticate", self._challenge)])


def _parameters(header: bytes | None) -> dict[str, str]:
    if header is None:
        raise _Malformed("missing Authorization header")
    text = header.decode("latin-1")
    if not text.startswith("Signature"):
        raise _Malformed("Authorization header does not start with 'Signature'")
    parameters = dict(_PARAMETER.findall(text))
    if not all(parameters.get(name) for name in ("keyId", "signature", "algorithm")):
        raise _Invalid
    return parameters


def _decoded(signature: str) -> bytes:
    try:
        return from_base64(signature)
    except ValueError:
        raise _Invalid from None


def _signing_text(ctx: Context, key_id: str, names: list[str]) -> bytes:
    """Key id, then a line per signed header, each ended by a newline."""
    lines = [key_id.encode()]
    request = ctx.request
    for name in names:
        if name == _REQUEST_TARGET:
            query = b"?" + request.query if request.query else b""
            lines.append(request.method.encode() + b" " + request.target + query)
        else:
            value = sole(request.headers, name.lower().encode("latin-1"))
            if value is not None:
                lines.append(name.encode("latin-1") + b": " + value)
    return b"\n".join(lines) + b"\n"
