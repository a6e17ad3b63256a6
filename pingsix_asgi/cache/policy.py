"""The decisions of a cache: may this be served, may this be kept, for how long.

Two modes. ``honours_origin`` follows RFC 9111 with ``ttl_s`` where the origin says nothing about
freshness; without it every storable response is fresh for exactly ``ttl_s``, whatever the origin
says, except that private, no-store and no-cache are always obeyed.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..http.headers import Headers
from .directives import Directives, directives, initial_age, lifetime, seconds
from .store import Entry, vary_of

_NOT_KEPT = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te"),
        *(b"trailer", b"transfer-encoding", b"upgrade", b"content-length", b"age"),
        *(b"apisix-cache-status", b"x-cache-status", b"x-cache-scope"),
    }
)
"""Headers of one connection or of our own making; never part of a stored response."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What one plugin instance decided about caching."""

    methods: frozenset[str]
    statuses: frozenset[int]
    ttl_s: float
    max_bytes: int
    honours_origin: bool
    honours_client: bool
    """Obey Cache-Control of requests."""
    stores_cookies: bool = False
    stores_authorized: bool = False
    """Keep answers to requests with credentials even without the origin's leave."""
    stale_while_revalidate_s: float = 0.0
    respects_s_maxage: bool = True
    vary: tuple[str, ...] = ()

    def is_fresh(self, entry: Entry, now: float, wanted: Directives) -> bool:
        """Tell whether an entry may be served as it is, given the client's directives."""
        age = entry.current_age(now)
        lives = entry.lifetime
        if self.honours_client:
            limit = seconds(wanted.get("max-age", ""))
            if limit is not None and age > limit:
                return False
            lives -= seconds(wanted.get("min-fresh", "")) or 0
        return age < lives

    def accepts_stale(self, entry: Entry, now: float, wanted: Directives) -> bool:
        """Tell whether the client asked to get this stale entry (max-stale, RFC 9111 §5.2.1.2)."""
        if not self.honours_client or "max-stale" not in wanted or _must_revalidate(entry):
            return False
        limit = seconds(wanted["max-stale"])
        return limit is None or entry.current_age(now) - entry.lifetime <= limit

    def may_serve_while_revalidating(self, entry: Entry, now: float) -> bool:
        """Tell whether others may get this stale entry while one request renews it (RFC 5861)."""
        return self._within(entry, now, "stale-while-revalidate", self.stale_while_revalidate_s)

    def may_serve_on_error(self, entry: Entry, now: float) -> bool:
        """Tell whether a stale entry may stand in for a failing origin (RFC 5861 §4)."""
        return self._within(entry, now, "stale-if-error", 0.0)

    def entry(self, status: int, headers: Headers, request: Headers, now: float) -> Entry | None:
        """Return the entry to keep, with an empty body, or None when it may not be kept."""
        said = directives(headers)
        if not self.respects_s_maxage:
            said.pop("s-maxage", None)
        if status not in self.statuses or not self._may_store(said, headers, request):
            return None
        lives = lifetime(headers, said, now) if self.honours_origin else None
        age = initial_age(headers, now) if self.honours_origin else 0.0
        lives = self.ttl_s if lives is None else lives
        has_validator = b"etag" in headers or b"last-modified" in headers
        if lives <= age and not (self.honours_origin and has_validator):
            return None
        kept = [
            (name, value)
            for name, value in headers
            if name not in _NOT_KEPT and b"ratelimit-remaining" not in name
        ]
        return Entry(status, kept, b"", now, age, lives, vary_of(headers, request, self.vary))

    def _may_store(self, said: Directives, headers: Headers, request: Headers) -> bool:
        if "no-store" in said or "private" in said or "no-cache" in said:
            return False
        if b"*" in (headers.combined(b"vary") or b""):
            return False
        if not self.stores_cookies and b"set-cookie" in headers:
            return False
        if self.stores_authorized or b"authorization" not in request:
            return True
        return not said.keys().isdisjoint(("public", "s-maxage", "must-revalidate"))

    def _within(self, entry: Entry, now: float, directive: str, default_s: float) -> bool:
        said = directives(Headers(entry.headers))
        window = seconds(said.get(directive, ""))
        if _must_revalidate(entry):
            return False
        over = entry.current_age(now) - entry.lifetime
        return over <= (default_s if window is None else window) and (window or default_s) > 0


def _must_revalidate(entry: Entry) -> bool:
    said = directives(Headers(entry.headers))
    return not said.keys().isdisjoint(("must-revalidate", "proxy-revalidate", "s-maxage"))
