"""The decisions of a cache: may this be served, may this be kept, for how long.

Two modes. ``honours_origin`` follows RFC 9111 with ``ttl_s`` where the origin says nothing about
freshness; without it every storable response is fresh for exactly ``ttl_s``, whatever the origin
says, except that private, no-store and no-cache are never kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..http.framing import HOP_BY_HOP
from ..http.headers import Headers
from ..types import RawHeaders
from .directives import Directives, directives, initial_age, lifetime, seconds
from .store import Entry, vary_of

_NOT_KEPT: Final = HOP_BY_HOP | {
    *(b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization"),
    *(b"content-length", b"age"),
    *(b"apisix-cache-status", b"x-cache-status", b"x-cache-scope", b"x-apisix-upstream-status"),
}
"""Headers of one connection or of our own making; never part of a stored response."""

_NOT_RENEWED: Final = _NOT_KEPT | {
    *(b"content-encoding", b"content-md5", b"content-range", b"etag"),
}
"""What a 304 does not change: it describes the stored body (RFC 9111 §3.2)."""

_PARTS: Final = frozenset((206, 304))
"""Not whole responses."""

_UNDERSTOOD: Final = frozenset(
    (200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 451, 501)
)
"""Statuses whose meaning for caches is known; must-understand asks for that."""


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

    def may_serve_while_revalidating(self, entry: Entry, now: float, wanted: Directives) -> bool:
        """Tell whether this stale entry may be served while it is renewed (RFC 5861 §3).

        Not to a client that says how fresh it has to be.
        """
        if not self.honours_origin or (
            self.honours_client and not wanted.keys().isdisjoint(("max-age", "min-fresh"))
        ):
            return False
        return self._within(entry, now, "stale-while-revalidate", self.stale_while_revalidate_s)

    def may_serve_on_error(self, entry: Entry, now: float) -> bool:
        """Tell whether a stale entry may stand in for a failing origin (RFC 5861 §4)."""
        return self._within(entry, now, "stale-if-error", 0.0)

    def entry(
        self, status: int, headers: Headers, request: Headers, now: float, *, is_personal: bool
    ) -> Entry | None:
        """Return the entry to keep, with an empty body, or None when it may not be kept.

        ``is_personal`` says that the request had credentials and the key does not tell whose: the
        origin has to allow sharing then (RFC 9111 §3.5).
        """
        if status not in self.statuses or status in _PARTS:
            return None
        said = directives(headers)
        if not self.respects_s_maxage:
            said.pop("s-maxage", None)
        if not self._may_store(status, said, headers, is_personal):
            return None
        lives = lifetime(headers, said, now) if self.honours_origin else None
        age = initial_age(headers, now) if self.honours_origin else 0.0
        lives = self.ttl_s if lives is None else lives
        if "no-cache" in said:
            lives = 0.0
        has_validator = b"etag" in headers or b"last-modified" in headers
        if lives <= age and not (self.honours_origin and has_validator):
            return None
        kept = [
            (name, value)
            for name, value in headers
            if name not in _NOT_KEPT and b"ratelimit-remaining" not in name
        ]
        return Entry(status, kept, b"", now, age, lives, vary_of(headers, request, self.vary))

    def _may_store(
        self, status: int, said: Directives, headers: Headers, is_personal: bool
    ) -> bool:
        if "no-store" in said or "private" in said:
            return False
        if "no-cache" in said and not self.honours_origin:
            return False
        if "must-understand" in said and status not in _UNDERSTOOD:
            return False
        if b"*" in (headers.combined(b"vary") or b""):
            return False
        if not self.stores_cookies and b"set-cookie" in headers:
            return False
        if not is_personal:
            return True
        return not said.keys().isdisjoint(("public", "s-maxage", "must-revalidate"))

    def _within(self, entry: Entry, now: float, directive: str, default_s: float) -> bool:
        if _must_revalidate(entry):
            return False
        window = seconds(directives(Headers(entry.headers)).get(directive, ""))
        if window is None:
            window = int(default_s)
        return window > 0 and entry.current_age(now) - entry.lifetime <= window


def renewed(stale: Entry, headers: Headers) -> RawHeaders:
    """Return the headers of a stored response that a 304 with ``headers`` confirmed."""
    new = [pair for pair in headers if pair[0] not in _NOT_RENEWED]
    names = {name for name, _ in new}
    return [pair for pair in stale.headers if pair[0] not in names] + new


def _must_revalidate(entry: Entry) -> bool:
    said = directives(Headers(entry.headers))
    return not said.keys().isdisjoint(
        ("must-revalidate", "proxy-revalidate", "s-maxage", "no-cache")
    )
