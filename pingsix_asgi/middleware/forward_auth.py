"""Ask an external service whether a request may pass."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import OrderedDict
from typing import Annotated, Literal, TypeAlias

import httpx2
from pydantic import Field

from ..context import Context
from ..errors import DownstreamError
from ..expr.template import Template
from ..expr.variables import getter
from ..http.response import Response, error_page
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..types import RawHeaders

logger = logging.getLogger("pingsix_asgi.plugins.forward_auth")

_request_uri = getter("request_uri")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_NOT_KEPT = ("no-store", "no-cache", "private")
_S_MAXAGE = re.compile(r"s-maxage\s*=\s*(\d{1,9})")
_MAX_AGE = re.compile(r"max-age\s*=\s*(\d{1,9})")
_MAX_DECISIONS = 4096
_MAX_BYTES = 16_384
"""Largest decision that is remembered."""

Decision: TypeAlias = Response | RawHeaders
"""A refusal, or the header lines for the upstream."""


class Cache(PluginConf):
    """Which decisions are remembered, by each process for itself, and for how long."""

    key_headers: Annotated[list[str], Field(min_length=1)]
    """Request headers that tell callers apart."""
    ttl: Annotated[int, Field(ge=1, le=3600)] = 5
    """Seconds that a decision holds."""
    include_method: bool = False
    """Each method has its own decision."""
    include_uri: bool = False
    """Each URI has its own decision."""


class ForwardAuth(Plugin):
    """Send the request's headers to ``uri``; a status below 300 lets it pass.

    With ``cache`` a decision holds for all requests with the same key headers, from the same
    client, to the same host. Source: apisix/plugins/forward-auth.lua.
    """

    name = "forward-auth"
    priority = 2002

    class Conf(PluginConf):
        uri: Annotated[str, Field(min_length=1)]
        """Where the service is asked."""
        allow_degradation: bool = False
        """Let requests pass when the service fails."""
        status_on_error: Annotated[int, Field(ge=200, le=599)] = 403
        """Status when the service fails."""
        ssl_verify: bool = True
        """Check the certificate of the service."""
        request_method: Literal["GET", "POST"] = "GET"
        """Method the service is asked with; POST sends the client's body along."""
        request_headers: list[str] = Field(default_factory=list)
        """Headers of the client that the service gets."""
        extra_headers: Annotated[dict[str, str], Field(min_length=1)] | None = None
        """Headers that the service gets beside these; values are templates."""
        upstream_headers: list[str] = Field(default_factory=list)
        """Headers of the service's answer that the upstream gets."""
        client_headers: list[str] = Field(default_factory=list)
        """Headers of a refusal that the client gets."""
        timeout: Annotated[int, Field(ge=1, le=60000)] = 3000
        """Milliseconds."""
        keepalive: bool = True
        """Keep connections to the service."""
        keepalive_timeout: Annotated[int, Field(ge=1000)] = 60000
        """Milliseconds."""
        keepalive_pool: Annotated[int, Field(ge=1)] = 5
        """Connections that are kept."""
        max_req_body_size: Annotated[int, Field(ge=1)] = 67108864
        """Bytes; with POST, larger bodies are refused with 413."""
        cache: Cache | None = None
        """The key headers have to cover everything the service decides by."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._request_headers = {name.lower().encode() for name in conf.request_headers}
        self._upstream_headers = [name.lower().encode() for name in conf.upstream_headers]
        self._client_headers = [name.lower().encode() for name in conf.client_headers]
        self._extra = [
            (name.lower().encode(), Template(text))
            for name, text in (conf.extra_headers or {}).items()
        ]
        self.needs_body = any(template.needs_body for _, template in self._extra)
        key_headers = conf.cache.key_headers if conf.cache else ()
        self._key_headers = [name.lower().encode() for name in key_headers]
        self._decisions: OrderedDict[bytes, tuple[float, Decision]] = OrderedDict()

    def setup(self, host: Host) -> None:
        conf = self._conf
        key = (self.name, conf.ssl_verify, conf.keepalive, conf.keepalive_timeout, conf.timeout)
        self._client = host.keep(key, self._make_client)
        self._now = host.clock.monotonic

    async def access(self, ctx: Context) -> Reply:
        try:
            body = await self._body(ctx)
        except DownstreamError as error:
            return error_page(error.status)
        cache = self._conf.cache
        key = self._key(ctx, cache, body) if cache else b""
        decision = self._remembered(key) if cache else None
        if decision is None:
            try:
                answer = await self._client.request(
                    self._conf.request_method,
                    self._conf.uri,
                    headers=self._headers(ctx),
                    content=body,
                )
            except httpx2.HTTPError as error:
                logger.warning("authorization service failed: %s", error or type(error).__name__)
                degraded = self._conf.allow_degradation
                return None if degraded else error_page(self._conf.status_on_error)
            decision = self._decide(answer)
            if cache:
                self._remember(key, decision, _seconds(answer, cache.ttl))
        return self._apply(ctx, decision)

    def _decide(self, answer: httpx2.Response) -> Decision:
        if answer.status_code < 300:
            return [line for name in self._upstream_headers for line in _lines(answer, name)]
        lines = [line for name in self._client_headers for line in _lines(answer, name)]
        return Response(answer.status_code, answer.content, lines)

    def _apply(self, ctx: Context, decision: Decision) -> Reply:
        if isinstance(decision, Response):
            return decision
        ctx.request.headers.remove(*self._upstream_headers)
        for line in decision:
            ctx.request.headers.append(*line)
        return None

    async def _body(self, ctx: Context) -> bytes | None:
        if self._conf.request_method != "POST":
            return None
        return await ctx.read_body(self._conf.max_req_body_size)

    def _headers(self, ctx: Context) -> RawHeaders:
        request = ctx.request
        headers = {
            b"x-forwarded-proto": request.scheme.encode(),
            b"x-forwarded-method": request.method.encode(),
            b"x-forwarded-host": request.host.encode("latin-1", "replace"),
            b"x-forwarded-uri": _encoded(str(_request_uri(ctx))),
            b"x-forwarded-for": request.client[0].encode(),
        }
        encoding = request.headers.get(b"content-encoding")
        if self._conf.request_method == "POST" and encoding:
            headers[b"content-encoding"] = encoding
        for name, template in self._extra:
            headers[name] = _encoded(template.render(ctx))
        sent = [pair for pair in request.headers if pair[0] in self._request_headers]
        return [*headers.items(), *(pair for pair in sent if pair[0] not in headers)]

    def _key(self, ctx: Context, cache: Cache, body: bytes | None) -> bytes:
        """Tell requests apart: by what identifies the caller, and what the service always sees.

        It is a digest: clients choose how long these values are.
        """
        request = ctx.request
        parts = (
            *map(request.headers.combined, self._key_headers),
            request.scheme,
            request.host,
            request.client[0],
            request.method if cache.include_method else None,
            _request_uri(ctx) if cache.include_uri else None,
            hashlib.sha256(body).digest() if body else None,
        )
        return hashlib.sha256(repr(parts).encode()).digest()

    def _remembered(self, key: bytes) -> Decision | None:
        until, decision = self._decisions.get(key, (0, None))
        if decision is not None and until > self._now():
            self._decisions.move_to_end(key)
            return decision
        return None

    def _remember(self, key: bytes, decision: Decision, seconds: int) -> None:
        if seconds > 0 and _size(decision) <= _MAX_BYTES:
            self._decisions[key] = (self._now() + seconds, decision)
            self._decisions.move_to_end(key)
            if len(self._decisions) > _MAX_DECISIONS:
                self._decisions.popitem(last=False)

    def _make_client(self) -> httpx2.AsyncClient:
        conf = self._conf
        return httpx2.AsyncClient(
            verify=conf.ssl_verify,
            timeout=conf.timeout / 1000,
            trust_env=False,
            limits=httpx2.Limits(
                max_keepalive_connections=conf.keepalive_pool if conf.keepalive else 0,
                keepalive_expiry=conf.keepalive_timeout / 1000,
            ),
        )


def _seconds(answer: httpx2.Response, ttl: int) -> int:
    """Return how long a decision may be kept: as a shared cache keeps it, ``ttl`` at most."""
    if answer.status_code >= 500:
        return 0
    directives = answer.headers.get("cache-control", "").lower()
    if any(directive in directives for directive in _NOT_KEPT):
        return 0
    age = _S_MAXAGE.search(directives) or _MAX_AGE.search(directives)
    return min(ttl, int(age[1])) if age else ttl


def _size(decision: Decision) -> int:
    if isinstance(decision, Response):
        return len(decision.body) + _size(decision.headers)
    return sum(len(name) + len(value) for name, value in decision)


def _lines(answer: httpx2.Response, name: bytes) -> RawHeaders:
    return [(name, value) for key, value in answer.headers.raw if key.lower() == name]


def _encoded(text: str) -> bytes:
    """Make a header value of text that a client may have written: controls cannot end the line."""
    text = _CONTROLS.sub(lambda found: f"%{ord(found[0]):02X}", text)
    return text.encode("utf-8", "surrogateescape")
