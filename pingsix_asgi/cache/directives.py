"""Cache-Control, Age, Expires and dates, as functions of headers (RFC 9111)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TypeAlias

from ..http.headers import Headers

Directives: TypeAlias = dict[str, str]

_LARGEST_S = 2**31
"""RFC 9111 §1.2.2: larger or unreadable ages count as this."""


def directives(headers: Headers) -> Directives:
    """Parse all Cache-Control lines into lower-case names and unquoted values.

    A directive that is repeated keeps its first value, as RFC 9111 §4.2.1 advises.
    """
    found: Directives = {}
    for line in headers.getlist(b"cache-control"):
        for part in _split_quoted(line.decode("latin-1")):
            name, _, value = part.strip().partition("=")
            if name:
                found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def seconds(value: str) -> int | None:
    """Read a delta-seconds value; None when it is not a whole number of seconds."""
    return min(int(value), _LARGEST_S) if value.isascii() and value.isdigit() else None


def lifetime(headers: Headers, cache_control: Directives, now: float) -> float | None:
    """Return how many seconds the origin calls its response fresh, None when it does not say.

    s-maxage, then max-age, then Expires minus Date, which is ``now`` where it is missing
    (RFC 9111 §4.2.1); bad values mean stale.
    """
    for name in ("s-maxage", "max-age"):
        if name in cache_control:
            return float(seconds(cache_control[name]) or 0)
    expires = headers.get(b"expires")
    if expires is None:
        return None
    end, start = http_date(expires), http_date(headers.get(b"date"))
    return max(end - (now if start is None else start), 0.0) if end is not None else 0.0


def initial_age(headers: Headers, now: float) -> float:
    """Return how old a response was when it arrived at ``now`` (RFC 9111 §4.2.3).

    An Age that is repeated or cannot be read counts as very old. Differs: RFC 9111 §5.1 would use
    the first one or none, which may call a stale response fresh.
    """
    ages = headers.getlist(b"age")
    said = seconds(b",".join(ages).decode("latin-1").strip()) if ages else 0
    if said is None:
        return float(_LARGEST_S)
    born = http_date(headers.get(b"date"))
    return max(float(said), now - born if born is not None else 0.0)


def http_date(value: bytes | None) -> float | None:
    """Read an HTTP date as Unix time; None when there is none or it cannot be read."""
    if value is None:
        return None
    try:
        return parsedate_to_datetime(value.decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return None


def _split_quoted(text: str) -> list[str]:
    """Split at commas that are not inside a quoted string."""
    parts, start, quoted = [], 0, False
    for index, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return parts
