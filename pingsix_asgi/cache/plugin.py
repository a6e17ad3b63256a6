"""The common part of the caching plugins: one request through lookup, capture and replay.

access looks the response up and answers, or marks the request for capture; header_filter decides
what to keep and turns a 304 or a failure of the origin into the stored response; body_filter
collects or replays the body. While one request fetches a response, others for it wait.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ..context import Context
from ..http.headers import Headers
from ..http.response import Response, error_page
from ..plugin.base import Host, Plugin, Reply
from .directives import Directives, directives, not_modified
from .policy import Policy
from .store import Entry, Store

logger = logging.getLogger("pingsix_asgi.cache")

LOCK_S = 5.0
"""How long a request waits for another one that fetches the same response."""


class Lookup:
    """What one request found in the cache and does about it."""

    __slots__ = ("body", "entry", "key", "locked", "replay", "saving", "stale", "status", "wanted")

    def __init__(self, key: str, wanted: Directives) -> None:
        self.key = key
        self.wanted = wanted
        """The client's Cache-Control."""
        self.status = "MISS"
        self.stale: Entry | None = None
        self.locked = False
        self.entry: Entry | None = None
        """What is being captured."""
        self.body = bytearray()
        self.saving = False
        """The store is being written; the lock is released when that is done."""
        self.replay: bytes | None = None
        """A stored body to send in place of the origin's."""


class CachingPlugin(Plugin):
    """Subclasses give the policy, the key, the store and how the status is shown."""

    policy: Policy
    skip_status = "MISS"
    """Status shown for a method that is not cached; "" for none."""

    def setup(self, host: Host) -> None:
        self._now = host.clock.time
        self.store: Store = self.make_store(host)
        self._locks: dict[str, asyncio.Event] = host.keep((self.name, "locks", host.owner), dict)
        self._saving: set[asyncio.Task[None]] = set()

    def make_store(self, host: Host) -> Store:
        """Return the store, kept by the host so that it outlives configurations."""
        raise NotImplementedError

    def key(self, ctx: Context) -> str:
        """Return the cache key of a request."""
        raise NotImplementedError

    def bypasses(self, ctx: Context) -> bool:
        """Tell whether the cache is to be left alone for this request."""
        raise NotImplementedError

    def keeps(self, ctx: Context) -> bool:
        """Tell whether the response of this request may be kept as far as the conf goes."""
        raise NotImplementedError

    def show(self, headers: Headers, status: str) -> None:
        """Put the cache status on a response."""
        raise NotImplementedError

    async def access(self, ctx: Context) -> Reply:
        if ctx.is_websocket:
            return None
        lookup = Lookup(self.key(ctx), directives(ctx.request.headers))
        method = ctx.request.method
        if method == "PURGE":
            return error_page(200 if await self.store.purge(lookup.key) else 404)
        ctx.note(self, lookup)
        if method not in self.policy.methods:
            lookup.status = self.skip_status
            return None
        if self.bypasses(ctx) or self._client_bypasses(ctx, lookup.wanted):
            lookup.status = "BYPASS"
            return None
        return await self._look_up(ctx, lookup)

    def header_filter(self, ctx: Context) -> None:
        lookup: Lookup | None = ctx.noted(self)
        if lookup is None:
            return
        stale, head = lookup.stale, ctx.response
        if lookup.status in ("HIT", "STALE", "BYPASS") or not lookup.key:
            pass
        elif stale is not None and head.status == 304 and lookup.status == "EXPIRED":
            self._renew(ctx, lookup, stale)
        elif stale is not None and head.status >= 500:
            self._stand_in(ctx, lookup, stale)
        else:
            self._begin_capture(ctx, lookup)
        if lookup.status:
            self.show(head.headers, lookup.status)

    def body_filter(self, ctx: Context, chunk: bytes, last: bool) -> bytes:
        lookup: Lookup | None = ctx.noted(self)
        if lookup is None:
            return chunk
        if lookup.replay is not None:
            return lookup.replay if last and ctx.request.method != "HEAD" else b""
        if lookup.entry is not None:
            lookup.body += chunk
            if self.policy.max_bytes and len(lookup.body) >= self.policy.max_bytes:
                lookup.entry, lookup.body = None, bytearray()
            elif last:
                self._save(lookup, lookup.entry)
        return chunk

    def log(self, ctx: Context) -> None:
        lookup: Lookup | None = ctx.noted(self)
        if lookup is not None and lookup.locked and not lookup.saving:
            self._unlock(lookup)

    async def _look_up(self, ctx: Context, lookup: Lookup) -> Reply:
        deadline = asyncio.get_running_loop().time() + LOCK_S
        while True:
            now = self._now()
            entry = await self.store.find(lookup.key, ctx.request.headers)
            if entry is not None:
                if self.policy.is_fresh(entry, now, lookup.wanted):
                    return self._answer(ctx, lookup, entry, "HIT")
                if self.policy.accepts_stale(entry, now, lookup.wanted):
                    return self._answer(ctx, lookup, entry, "STALE")
            busy = self._locks.get(lookup.key)
            if busy is None:
                break
            if entry is not None and self.policy.may_serve_while_revalidating(entry, now):
                return self._answer(ctx, lookup, entry, "STALE")
            if not await _wait(busy, deadline):
                break
        if "only-if-cached" in lookup.wanted and self.policy.honours_client:
            return error_page(504)
        if lookup.key not in self._locks:
            self._locks[lookup.key] = asyncio.Event()
            lookup.locked = True
        if entry is not None:
            lookup.stale, lookup.status = entry, "EXPIRED"
            if self.policy.honours_origin:
                _ask_whether_modified(ctx.request.headers, entry)
        return None

    def _answer(self, ctx: Context, lookup: Lookup, entry: Entry, status: str) -> Response:
        lookup.status = status
        headers = [*entry.headers, (b"age", b"%d" % entry.current_age(self._now()))]
        if not_modified(ctx.request.headers, Headers(entry.headers)) and entry.status == 200:
            return Response(304, b"", headers)
        return Response(entry.status, entry.body, headers)

    def _renew(self, ctx: Context, lookup: Lookup, stale: Entry) -> None:
        """The origin confirmed a stale response: freshen and send it (RFC 9111 §4.3.4)."""
        merged = Headers(list(stale.headers), owned=True)
        for name in dict.fromkeys(name for name, _ in ctx.response.headers):
            if name != b"content-length":
                merged.remove(name)
                for value in ctx.response.headers.getlist(name):
                    merged.append(name, value)
        entry = self.policy.entry(stale.status, merged, ctx.request.headers, self._now())
        self._replay(ctx, lookup, stale, merged)
        lookup.status = "REVALIDATED"
        if entry is not None:
            entry.body = stale.body
            self._save(lookup, entry)

    def _stand_in(self, ctx: Context, lookup: Lookup, stale: Entry) -> None:
        """The origin failed: send the stale response if that is allowed."""
        if not self.policy.may_serve_on_error(stale, self._now()):
            return
        headers = Headers(list(stale.headers), owned=True)
        headers.append(b"age", b"%d" % stale.current_age(self._now()))
        self._replay(ctx, lookup, stale, headers)
        lookup.status = "STALE"

    def _replay(self, ctx: Context, lookup: Lookup, entry: Entry, headers: Headers) -> None:
        ctx.response.status = entry.status
        headers.set(b"content-length", b"%d" % len(entry.body))
        ctx.response.headers = headers
        lookup.replay = entry.body

    def _begin_capture(self, ctx: Context, lookup: Lookup) -> None:
        if lookup.status == self.skip_status and ctx.request.method not in self.policy.methods:
            self._invalidate(ctx, lookup)
        elif ctx.request.method != "HEAD" and self.keeps(ctx):
            head = ctx.response
            lookup.entry = self.policy.entry(
                head.status, head.headers, ctx.request.headers, self._now()
            )

    def _invalidate(self, ctx: Context, lookup: Lookup) -> None:
        """A successful unsafe request makes what is stored for its URI stale (RFC 9111 §4.4)."""
        safe = ctx.request.method in ("GET", "HEAD", "OPTIONS", "TRACE")
        if self.policy.honours_origin and not safe and 200 <= ctx.response.status < 400:
            self._later(self._purge(lookup.key))

    async def _purge(self, key: str) -> None:
        await self.store.purge(key)

    def _save(self, lookup: Lookup, entry: Entry) -> None:
        lookup.saving = True
        if lookup.replay is None:
            entry.body = bytes(lookup.body)
        self._later(self._save_and_unlock(lookup, entry))

    async def _save_and_unlock(self, lookup: Lookup, entry: Entry) -> None:
        try:
            await self.store.save(lookup.key, entry)
        except OSError as error:
            logger.error("cannot store a response: %s", error)
        finally:
            if lookup.locked:
                self._unlock(lookup)

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work, name="pingsix-cache-save")
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    def _unlock(self, lookup: Lookup) -> None:
        lookup.locked = False
        waiting = self._locks.pop(lookup.key, None)
        if waiting is not None:
            waiting.set()

    def _client_bypasses(self, ctx: Context, wanted: Directives) -> bool:
        if not self.policy.honours_client:
            return False
        old_style = not wanted and (ctx.request.headers.get(b"pragma") or b"") == b"no-cache"
        return old_style or "no-cache" in wanted or "no-store" in wanted


async def _wait(event: asyncio.Event, deadline: float) -> bool:
    """Wait for the fetch of another request; False when the deadline passed."""
    try:
        async with asyncio.timeout_at(deadline):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _ask_whether_modified(request: Headers, stale: Entry) -> None:
    """Make the request conditional on the stored response's validators (RFC 9111 §4.3.1)."""
    stored = Headers(stale.headers)
    request.remove(b"if-none-match", b"if-modified-since", b"if-range", b"range")
    tag, changed = stored.get(b"etag"), stored.get(b"last-modified")
    if tag is not None:
        request.set(b"if-none-match", tag)
    elif changed is not None:
        request.set(b"if-modified-since", changed)
