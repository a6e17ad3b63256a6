"""Keep responses and answer with them: APISIX's proxy-cache, and PingSIX's cache."""

from __future__ import annotations

import getpass
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from ..cache.plugin import CachingPlugin
from ..cache.policy import Policy
from ..cache.store import Bounds, DiskStore, MemoryStore, Store
from ..context import Context, Match
from ..errors import SchemaError
from ..expr.template import Template
from ..expr.variables import getter
from ..http.headers import Headers
from ..http.scope import odd_port
from ..model.fields import Unique
from ..plugin.base import Host, PluginConf

_MB = 1_048_576
ZONES: dict[str, tuple[str, int]] = {
    "disk_cache_one": ("disk", 1024 * _MB),
    "memory_cache": ("memory", 50 * _MB),
}
"""Cache zones: kind and largest size in bytes, APISIX's defaults."""
_IDENTITIES = ("$consumer_name", "$consumer_group_id", "$remote_user", "$http_authorization")
_KEY_PART = r"(^[^\$].+$|^\$[0-9a-zA-Z_]+$)"
_remote_user = getter("remote_user")

_PLACES_REMEMBERED = 4096
"""Routes whose numbers one cache plugin remembers; with more it begins anew."""

Parts = Annotated[list[Annotated[str, Field(pattern=_KEY_PART)]], Field(min_length=1)]
Status = Annotated[int, Field(ge=200, le=599)]


class _Place(NamedTuple):
    """A part of the store."""

    match: Match
    """Kept, so that no other gets its id."""
    number: int
    is_guarded: bool
    """An authentication plugin stands before it."""


class ProxyCache(CachingPlugin):
    """Cache by key in a zone, in memory (this worker) or on disk (all workers of the machine).

    ``cache_control: true``, and the disk strategy always, follow the origin's Cache-Control and
    Expires as RFC 9111 says; otherwise a response lives for ``cache_ttl`` seconds.
    Source: apisix/plugins/proxy-cache. Differs: the disk strategy also revalidates stale
    responses; HEAD is answered from stored GET responses and never stored itself.
    """

    name = "proxy-cache"
    priority = 1085
    purges = True
    refused = "STALE"

    class Conf(PluginConf):
        cache_zone: Annotated[str, Field(min_length=1, max_length=100)] = "disk_cache_one"
        """``disk_cache_one`` or ``memory_cache``; it has to fit ``cache_strategy``."""
        cache_strategy: Literal["disk", "memory"] = "disk"
        """Where responses are kept."""
        cache_key: Parts = Field(default=["$host", "$request_uri"])
        """What tells responses apart: texts and ``$variables``."""
        cache_http_status: Annotated[Unique[Status], Field(min_length=1)] = (200, 301, 404)
        """Statuses of responses that are kept."""
        cache_method: Annotated[Unique[Literal["GET", "POST", "HEAD"]], Field(min_length=1)] = (
            "GET",
            "HEAD",
        )
        """Methods of requests that the cache is for."""
        cache_bypass: Parts | None = None
        """Ask the target if these, joined, are neither empty nor 0."""
        no_cache: Parts | None = None
        """Keep no response if these, joined, are neither empty nor 0."""
        cache_control: bool = False
        """Follow Cache-Control of client and origin; on disk, the origin's is always followed."""
        cache_ttl: Annotated[int, Field(ge=1)] = 300
        """Seconds."""
        cache_set_cookie: bool = False
        """In memory: keep responses with Set-Cookie, too."""
        consumer_isolation: bool = True
        """Each consumer, or user of basic credentials, has its own responses."""
        hide_cache_headers: bool = False
        """Take Expires and Cache-Control away from the client."""
        max_resp_body_size: Annotated[int, Field(ge=1)] = 67108864
        """Bytes; larger responses are not kept."""

        @model_validator(mode="after")
        def _usable(self) -> Self:
            if "$request_method" in self.cache_key:
                raise ValueError("cache_key variable $request_method unsupported")
            return self

    def __init__(self, conf: Conf) -> None:
        kind, self._zone_bytes = ZONES.get(conf.cache_zone, ("", 0))
        if not kind:
            raise SchemaError(f"cache_zone {conf.cache_zone} not found", path="cache_zone")
        if kind != conf.cache_strategy:
            text = f"invalid or empty cache_zone for cache_strategy: {conf.cache_strategy}"
            raise SchemaError(text, path="cache_zone")
        on_disk = kind == "disk"
        self._conf = conf
        self._key = [Template(part) for part in conf.cache_key]
        self._bypass = [Template(part) for part in conf.cache_bypass or ()]
        self._no_cache = [Template(part) for part in conf.no_cache or ()]
        self._key_reads_body = any(part.needs_body for part in self._key)
        self.needs_body = self._key_reads_body or any(
            part.needs_body for part in (*self._bypass, *self._no_cache)
        )
        self._isolates = conf.consumer_isolation and not any(
            part in _IDENTITIES for part in conf.cache_key
        )
        self._selects = "$http_authorization" in conf.cache_key
        self.scope = kind
        self.policy = Policy(
            methods=frozenset(conf.cache_method),
            statuses=frozenset(conf.cache_http_status),
            ttl_s=conf.cache_ttl,
            max_bytes=conf.max_resp_body_size,
            honours_origin=on_disk or conf.cache_control,
            honours_client=conf.cache_control,
            stores_cookies=conf.cache_set_cookie and not on_disk,
        )

    def make_store(self, host: Host) -> Store:
        zone = self._conf.cache_zone
        if self.scope == "disk":
            user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
            directory = f"{tempfile.gettempdir()}/pingsix-cache-{user}-{zone}"
            return host.keep((self.name, zone), lambda: DiskStore(directory, self._zone_bytes))
        return host.keep((self.name, zone), lambda: MemoryStore(self._zone_bytes))

    def key(self, ctx: Context, method: str) -> str:
        parts = [part.render(ctx) for part in self._key]
        if method == "POST":
            parts.append("POST")
        if port := odd_port(ctx.scope["headers"], ctx.request.scheme):
            parts.append(port)  # the origin is told, while $host has none
        if self._isolates:
            who = ctx.consumer.username if ctx.consumer else _remote_user(ctx)
            if who:
                parts.insert(0, f"{who}\x01")
        return "\x00".join(parts)

    def leaves_alone(self, ctx: Context) -> str | None:
        if ctx.request.method not in self.policy.methods:
            return "BYPASS" if self.scope == "disk" else "MISS"
        if self._key_reads_body and ctx.body is None:
            return "BYPASS"  # it was too large: all such requests would share one key
        return "BYPASS" if _is_set(self._bypass, ctx) else None

    def keeps(self, ctx: Context) -> bool:
        return not _is_set(self._no_cache, ctx)

    def is_personal(self, ctx: Context) -> bool:
        """Tell whether credentials are in play that the key does not hold and nobody here checked.

        A user name in the key is not enough: anybody can send it. Without consumer_isolation and
        cache_control everything is shared, as in APISIX.
        """
        if self._selects or not _has(ctx, b"authorization"):
            return False
        if not self._conf.consumer_isolation:
            return self._conf.cache_control
        return ctx.consumer is None

    def show(self, headers: Headers, status: str) -> None:
        headers.set(b"apisix-cache-status", status.encode())
        if self._conf.hide_cache_headers:
            headers.remove(b"expires", b"cache-control")


class Cache(CachingPlugin):
    """PingSIX's cache: in memory, by method, host and URI; never for requests with credentials.

    Any change of the route, or of what it refers to, begins an empty cache.
    Source: PingSIX cache plugin.
    """

    name = "cache"
    priority = 1085
    scope = "local"

    class Conf(PluginConf):
        ttl: Annotated[int, Field(ge=1)]
        """Seconds for responses that do not say."""
        cache_http_methods: list[str] = Field(default=["GET", "HEAD"])
        """Methods of requests that the cache is for."""
        cache_http_statuses: list[Annotated[int, Field(ge=100, le=599)]] = Field(default=[200])
        """Statuses of responses that are kept."""
        no_cache_str: list[str] = Field(default_factory=list)
        """Regexes of paths that the cache leaves alone."""
        vary: list[Annotated[str, Field(pattern=r"^[0-9A-Za-z-]+$")]] = Field(default_factory=list)
        """Request headers that tell responses apart, beside those of the origin's Vary."""
        hide_cache_headers: bool = False
        """Do not send X-Cache-Status and X-Cache-Scope."""
        max_file_size_bytes: Annotated[int, Field(ge=0)] | None = None
        """Bytes of the largest body kept, 0: any; not given: `defaults.cache` of the settings."""
        stale_while_revalidate_secs: Annotated[int, Field(ge=0)] | None = None
        """Seconds for which a stale response is served while it is renewed, where the origin does
        not say."""
        respect_s_maxage: bool = True
        """Count s-maxage of the origin."""
        cache_authenticated_requests: bool = False
        """The cache is for requests with credentials, too."""
        cache_set_cookie_responses: bool = False
        """Keep responses with Set-Cookie, too."""
        scope: Literal["local"] = "local"
        """Of this process; there is no other."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        try:
            self._never = [re.compile(pattern) for pattern in conf.no_cache_str]
        except re.error as error:
            raise SchemaError(f"bad regex: {error}", path="no_cache_str") from None
        self.policy = Policy(
            methods=frozenset(conf.cache_http_methods),
            statuses=frozenset(conf.cache_http_statuses),
            ttl_s=conf.ttl,
            max_bytes=conf.max_file_size_bytes or 0,
            honours_origin=True,
            honours_client=True,
            stores_cookies=conf.cache_set_cookie_responses,
            stale_while_revalidate_s=conf.stale_while_revalidate_secs or 0,
            respects_s_maxage=conf.respect_s_maxage,
            vary=tuple(conf.vary),
        )

    def make_store(self, host: Host) -> Store:
        self._numbers: Iterator[int] = host.keep((self.name, "numbers"), count)
        self._places: dict[int, _Place] = {}
        bounds = host.keep(Bounds, Bounds)
        if self._conf.max_file_size_bytes is None:
            self.policy = replace(self.policy, max_bytes=bounds.object_bytes)
        return host.keep((self.name,), lambda: MemoryStore(bounds.memory_bytes))

    def key(self, ctx: Context, method: str) -> str:
        request = ctx.request
        host = request.host + odd_port(ctx.scope["headers"], request.scheme)
        parts = [str(self._place(ctx).number), request.scheme, host, request.path]
        if method not in ("GET", "HEAD"):
            parts.append(method)
        return "\x00".join([*parts, request.query.decode("latin-1")])

    def leaves_alone(self, ctx: Context) -> str | None:
        if ctx.request.method not in self.policy.methods:
            return ""
        if not self._conf.cache_authenticated_requests and self._has_credentials(ctx):
            return ""
        if any(pattern.search(ctx.request.path) for pattern in self._never):
            return ""
        return "BYPASS" if b"x-bypass-cache" in ctx.request.headers else None

    def is_personal(self, ctx: Context) -> bool:
        return self._has_credentials(ctx)

    def show(self, headers: Headers, status: str) -> None:
        if not self._conf.hide_cache_headers:
            headers.set(b"x-cache-status", status.encode())
            headers.set(b"x-cache-scope", b"local")

    def _has_credentials(self, ctx: Context) -> bool:
        if ctx.consumer is not None or self._place(ctx).is_guarded:
            return True
        return _has(ctx, b"authorization", b"proxy-authorization", b"cookie")

    def _place(self, ctx: Context) -> _Place:
        """Return where the matched route's responses are; a changed route is another match."""
        place = self._places.get(id(ctx.match))
        if place is None:
            if len(self._places) >= _PLACES_REMEMBERED:
                self._places.clear()
            is_guarded = any(step.plugin.kind == "auth" for step in ctx.match.plan.steps)
            place = _Place(ctx.match, next(self._numbers), is_guarded)
            self._places[id(ctx.match)] = place
        return place


def _has(ctx: Context, *names: bytes) -> bool:
    """Tell whether the client sent a header, also one that a plugin has hidden since."""
    return any(name in names for name, _ in ctx.scope["headers"])


def _is_set(parts: list[Template], ctx: Context) -> bool:
    """Tell whether the joined values are something other than empty or "0"."""
    return bool(parts) and "".join(part.render(ctx) for part in parts) not in ("", "0")
