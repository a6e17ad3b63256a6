"""The common part of the caching plugins: one request through lookup, fetch and replay.

access looks the response up and answers, or makes the request one that fetches it; around the
target a Fetch decides what to keep and turns a 304 or a failure into the stored response;
header_filter shows the status. While one request fetches a response, others for it wait. A stale
response that may be served meanwhile is sent by the first who asks for it, too, and fetched in a
task of its own.
"""

from __future__ import annotations

import logging
from urllib.parse import urljoin, urlsplit

from ..context import CONTEXT_KEY, Context, Request
from ..errors import DownstreamError, RequestError, UpstreamError
from ..http.headers import Headers
from ..http.path import canonical_path
from ..http.response import Response, error_page
from ..http.scope import read_host
from ..plugin.base import Host, Plugin, Reply
from ..shared.metrics import Family, gateway_metrics
from ..types import ASGIApp, Receive, Scope, Send
from .answer import answer
from .directives import directives
from .fetch import Fetch, Lookup
from .policy import Policy
from .renewal import apart, may_be_repeated, renewals
from .store import Entry, Store

logger = logging.getLogger("pingsix_asgi.cache")

REQUESTS = Family(
    "cache_requests_total", "Requests by what the cache did", "counter", ("outcome", "scope")
)
_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))


class CachingPlugin(Plugin):
    """Subclasses give the policy, the key, the store and how the status is shown."""

    policy: Policy
    scope = ""
    """Where responses are kept, for the metric."""
    purges = False
    """The method PURGE forgets a response."""
    refused = "EXPIRED"
    """Status of a response that is fresh, but not as fresh as the client's Cache-Control wants."""

    def setup(self, host: Host) -> None:
        self._now = host.clock.time
        self.store: Store = self.make_store(host)
        self._metrics = gateway_metrics(host)
        self._renewals = host.keep(renewals, renewals)

    def make_store(self, host: Host) -> Store:
        """Return the store, kept by the host so that it outlives configurations."""
        raise NotImplementedError

    def key(self, ctx: Context, method: str) -> str:
        """Return the cache key of a request, if its method were ``method``."""
        raise NotImplementedError

    def leaves_alone(self, ctx: Context) -> str | None:
        """Return the status of a request that the cache leaves alone ("" for none), else None."""
        raise NotImplementedError

    def keeps(self, ctx: Context) -> bool:
        """Tell whether the response of this request may be kept as far as the conf goes."""
        return True

    def is_personal(self, ctx: Context) -> bool:
        """Tell whether the answer is not for others who get the same key."""
        raise NotImplementedError

    def show(self, headers: Headers, status: str) -> None:
        """Put the cache status on a response."""
        raise NotImplementedError

    async def access(self, ctx: Context) -> Reply:
        if ctx.is_websocket:
            return None
        headers = ctx.request.headers
        if ctx.request.method == "PURGE" and self.purges:
            return error_page(200 if await self._purge(ctx) else 404)
        lookup = Lookup(directives(headers), headers)
        ctx.note(self, lookup)
        skipped = self.leaves_alone(ctx)
        if skipped is None and self._client_skips(lookup):
            skipped = "BYPASS"
        if skipped is not None:
            lookup.status = skipped
            return None
        lookup.key = key = self.key(ctx, ctx.request.method)
        return await self._look_up(ctx, lookup, key)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        async def fetching(scope: Scope, receive: Receive, send: Send) -> None:
            ctx: Context = scope[CONTEXT_KEY]
            lookup: Lookup | None = ctx.noted(self)
            is_safe = ctx.request.method in _SAFE
            if lookup is None or (is_safe and lookup.key is None):
                await app(scope, receive, send)
                return
            fetch = Fetch(self.policy, lookup, ctx, send, self._now)
            if lookup.lags:
                self._begin_renewal(app, scope, ctx, lookup)
                await fetch.answer_stale()
                return
            try:
                await app(scope, receive, fetch.send)
            except UpstreamError:
                if fetch.status or not await fetch.stand_in():
                    raise
            if not is_safe:
                await self._invalidate(ctx, fetch)
            await self._save(ctx, lookup, fetch)

        return fetching

    def header_filter(self, ctx: Context) -> None:
        lookup: Lookup | None = ctx.noted(self)
        if lookup is not None and lookup.status:
            self.show(ctx.response.headers, lookup.status)

    def log(self, ctx: Context) -> None:
        lookup: Lookup | None = ctx.noted(self)
        if lookup is None:
            return
        if lookup.flight is not None:
            lookup.flight.land()
        if lookup.status:
            cell = self._metrics.series(REQUESTS, (lookup.status.lower(), self.scope))
            if cell is not None:
                self._metrics.sheet.cells[cell] += 1.0

    async def _look_up(self, ctx: Context, lookup: Lookup, key: str) -> Reply:
        entry = await self._find(ctx, lookup, key)
        flight = self.store.flights.find(key)
        if not lookup.status and entry is not None and self._may_lag(lookup, entry):
            if flight is not None:
                lookup.status = "STALE"
            elif self._can_renew(ctx):
                lookup.status, lookup.lags, lookup.stale = "EXPIRED", True, entry
                lookup.flight = self.store.flights.begin(key)
                return None
        elif not lookup.status and flight is not None:
            await flight.landed()
            newer = flight.is_left and self.store.flights.find(key)
            if newer:  # somebody who waited for the same has begun again
                await newer.landed()
            entry = await self._find(ctx, lookup, key)
        if entry is not None and lookup.status:
            return self._reply(ctx, lookup, entry)
        if "only-if-cached" in lookup.wanted and self.policy.honours_client:
            lookup.status = "MISS"
            return error_page(504)
        if entry is None:
            lookup.status = "MISS"
        else:
            is_fresh = self.policy.is_fresh(entry, self._now(), {})
            lookup.status = self.refused if is_fresh else "EXPIRED"
        lookup.is_personal = self.is_personal(ctx)
        headers = ctx.request.headers
        lookup.conditions = Headers(list(headers.raw))
        is_storable = ctx.request.method != "HEAD" and (
            entry is not None or b"range" not in headers
        )
        if is_storable and self.keeps(ctx):
            lookup.flight = self.store.flights.begin(key)
        if entry is not None and self.policy.honours_origin:
            lookup.stale = entry
            _ask_about(entry, headers)
        return None

    def _may_lag(self, lookup: Lookup, entry: Entry) -> bool:
        return self.policy.may_serve_while_revalidating(entry, self._now(), lookup.wanted)

    def _can_renew(self, ctx: Context) -> bool:
        return may_be_repeated(ctx) and self._renewals.has_room() and self.keeps(ctx)

    def _begin_renewal(self, app: ASGIApp, scope: Scope, ctx: Context, lookup: Lookup) -> None:
        """Fetch a response anew apart from the request that gets the stale one."""
        other = apart(ctx)
        headers = other.request.headers
        mine = Lookup({}, Headers(list(headers.raw)))
        mine.key, mine.stale, mine.is_personal = lookup.key, lookup.stale, self.is_personal(ctx)
        mine.flight, lookup.flight = lookup.flight, None  # it does not end with this request
        other.note(self, mine)
        if mine.stale is not None:
            _ask_about(mine.stale, headers)
        scope = {**scope, "method": "GET", "headers": headers.raw, CONTEXT_KEY: other}
        self._renewals.start(self._renew(app, scope, other, mine))

    async def _renew(self, app: ASGIApp, scope: Scope, ctx: Context, lookup: Lookup) -> None:
        fetch = Fetch(self.policy, lookup, ctx, ctx.observed_send, self._now)
        try:
            await app(scope, ctx.receive, fetch.send)
            await self._save(ctx, lookup, fetch)
        except RequestError as error:
            logger.warning("%s was not renewed in the cache: %s", ctx.request.path, error)
        except Exception:
            logger.exception("%s was not renewed in the cache", ctx.request.path)
        finally:
            if lookup.flight is not None:
                lookup.flight.land()

    async def _find(self, ctx: Context, lookup: Lookup, key: str) -> Entry | None:
        """Look in the store; sets the status when what is found can be used as it is."""
        entry = await self.store.find(key, ctx.request.headers)
        if entry is not None:
            now = self._now()
            if self.policy.is_fresh(entry, now, lookup.wanted):
                lookup.status = "HIT"
            elif self.policy.accepts_stale(entry, now, lookup.wanted):
                lookup.status = "STALE"
        return entry

    def _reply(self, ctx: Context, lookup: Lookup, entry: Entry) -> Response:
        reply = answer(entry, ctx.request, lookup.conditions, self._now())
        if ctx.reply_headers:
            ours = {name for name, _ in ctx.reply_headers}
            reply.headers = [pair for pair in reply.headers if pair[0] not in ours]
        return reply

    async def _save(self, ctx: Context, lookup: Lookup, fetch: Fetch) -> None:
        """Store what was fetched; the client has its answer already."""
        entry, key = fetch.entry, lookup.key
        if entry is None or key is None or not fetch.is_whole or not self.keeps(ctx):
            return
        if not self.policy.stores_cookies and b"set-cookie" in ctx.response.headers:
            return  # of a plugin: APISIX keeps none of these either
        if lookup.flight is None or not lookup.flight.is_spoiled:
            await self.store.save(key, entry)

    async def _purge(self, ctx: Context) -> bool:
        methods = {"GET", *self.policy.methods} - {"HEAD"}
        return any([await self._forget(self.key(ctx, method)) for method in methods])

    async def _forget(self, key: str) -> bool:
        self.store.flights.spoil(key)
        return await self.store.purge(key)

    async def _invalidate(self, ctx: Context, fetch: Fetch) -> None:
        """A successful unsafe request outdates what is stored for the URIs it names.

        Source: RFC 9111 §4.4: its own, and Location and Content-Location on the same host.
        """
        if not self.policy.honours_origin or not 200 <= fetch.status < 400:
            return
        await self._forget(self.key(ctx, "GET"))
        for name in (b"location", b"content-location"):
            value = fetch.headers.get(name)
            other = None if value is None else _request_for(value, ctx)
            if other is not None:
                await self._forget(self.key(other, "GET"))

    def _client_skips(self, lookup: Lookup) -> bool:
        if not self.policy.honours_client:
            return False
        wanted = lookup.wanted
        old_style = not wanted and lookup.conditions.get(b"pragma") == b"no-cache"
        return old_style or "no-cache" in wanted or "no-store" in wanted


def _ask_about(stale: Entry, request: Headers) -> None:
    """Make the request conditional on the stored response's validators (RFC 9111 §4.3.1)."""
    stored = Headers(stale.headers)
    request.remove(b"if-none-match", b"if-modified-since", b"if-range", b"range")
    tag, changed = stored.get(b"etag"), stored.get(b"last-modified")
    if tag is not None:
        request.set(b"if-none-match", tag)
    if changed is not None:
        request.set(b"if-modified-since", changed)


def _request_for(location: bytes, ctx: Context) -> Context | None:
    """Return a context for a request of ``location``; None when that is another host's."""
    request = ctx.request
    base = f"http://{request.host}{request.target.decode('latin-1')}"
    try:
        parts = urlsplit(urljoin(base, location.decode("latin-1")))
        if read_host([(b"host", parts.netloc.encode("latin-1"))]) != request.host:
            return None
        path, target = canonical_path(parts.path.encode("latin-1") or b"/")
    except (ValueError, DownstreamError):
        return None
    query = parts.query.encode("latin-1")
    uri = {"path": path, "raw_path": target, "query_string": query}
    scope = {**ctx.scope, **uri, "method": "GET"}
    other = Context(scope, ctx.receive, ctx.server_send, Request(scope, path, target, request.host))
    other.request.headers = request.headers
    other.match, other.plan = ctx.match, ctx.plan
    other.consumer, other.vars = ctx.consumer, ctx.vars
    return other
