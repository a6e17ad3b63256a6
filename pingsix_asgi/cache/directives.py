"""Cache-Control, Age, Expires and dates, as functions of headers (RFC 9111)."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TypeAlias

from ..http.headers import Headers

Directives: TypeAlias = dict[str, str]

_ELEMENT = re.compile(
    r"[ \t]*+(?:([!#$%&'*+.^_`|~0-9A-Za-z-]++)[ \t]*+"
    r'(?:=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^\s",;]*+))[ \t]*+)?)?(,|\Z)',
    re.DOTALL,
)
"""An element of the list, which may be empty, with the comma behind it."""
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_FORBIDS = re.compile("private|no-store|no-cache", re.IGNORECASE)

_LARGEST_S = 2**31
"""RFC 9111 §1.2.2: larger or unreadable ages count as this."""
_MOST_DIGITS = 10


def directives(headers: Headers) -> Directives:
    """Parse all Cache-Control lines into lower-case names and unquoted values.

    A directive that is repeated keeps its first value, as RFC 9111 §4.2.1 advises. Of a line that
    breaks the grammar nobody knows what it says: if it might forbid to store, it does.
    """
    found: Directives = {}
    for line in headers.getlist(b"cache-control"):
        text = line.decode("latin-1")
        for name, value in _parsed(text) or _guessed(text):
            found.setdefault(name.lower(), value)
    return found


def seconds(value: str) -> int | None:
    """Read a delta-seconds value; None when it is not a whole number of seconds."""
    if not (value.isascii() and value.isdigit()):
        return None
    return _LARGEST_S if len(value) > _MOST_DIGITS else min(int(value), _LARGEST_S)


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


def _parsed(text: str) -> list[tuple[str, str]]:
    """Return the directives of a line (RFC 9111 §5.2); none if there is anything else in it."""
    found: list[tuple[str, str]] = []
    at = 0
    while element := _ELEMENT.match(text, at):
        name, quoted, plain, comma = element.groups()
        if name:
            value = plain or "" if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
            found.append((name, value))
        if not comma:
            return found
        at = element.end()
    return []


def _guessed(text: str) -> list[tuple[str, str]]:
    found = [("no-store", "")] if _FORBIDS.search(text) else []
    for part in re.split("[,;]", text):
        name, _, value = part.partition("=")
        if name.strip():
            found.append((name.strip(), value.strip().strip('"')))
    return found
