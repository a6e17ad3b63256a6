"""Query strings and url-encoded forms: "a=1&b=two+words".

Names and values are percent-decoded, "+" is a space, a bad escape stays as written; a name without
"=" has the value "". Bytes that are not UTF-8 are kept as surrogate escapes. Parts without a name
are ignored. Order and repeats survive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes


def pairs(query: bytes) -> list[tuple[str, str]]:
    """Return all (name, value) pairs, decoded, in order."""
    return [(_decode(name), _decode(value)) for name, value in _parts(query)]


def arguments(query: bytes) -> dict[str, str | list[str]]:
    """Return the values by name; a name that occurs several times has a list."""
    return by_name(pairs(query))


def by_name(items: Iterable[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Return the values of pairs by name; a name that occurs several times has a list."""
    found: dict[str, str | list[str]] = {}
    for name, value in items:
        known = found.get(name)
        if known is None:
            found[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            found[name] = [known, value]
    return found


def argument(query: bytes, name: str) -> str | None:
    """Return the first value of ``name``, or None."""
    if not query:
        return None
    wanted = name.encode("utf-8", "surrogateescape")
    if b"%" not in query and b"+" not in query:
        if wanted not in query:
            return None
        for part in query.split(b"&"):
            if part.startswith(wanted):
                key, _, value = part.partition(b"=")
                if key == wanted and key:
                    return value.decode("utf-8", "surrogateescape")
        return None
    for raw, value in _parts(query):
        if _is(raw, wanted):
            return _decode(value)
    return None


def without_argument(query: bytes, name: str) -> bytes:
    """Return the query without any ``name``; what remains is byte for byte as it was."""
    wanted = name.encode("utf-8", "surrogateescape")
    kept = [part for part in query.split(b"&") if not _is(part.partition(b"=")[0], wanted)]
    return b"&".join(kept)


def _parts(query: bytes) -> Iterator[tuple[bytes, bytes]]:
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name:
            yield name, value


def _is(raw: bytes, wanted: bytes) -> bool:
    if raw == wanted:
        return b"%" not in raw and b"+" not in raw
    return (b"%" in raw or b"+" in raw) and unquote_to_bytes(raw.replace(b"+", b" ")) == wanted


def _decode(raw: bytes) -> str:
    if b"%" in raw or b"+" in raw:
        raw = unquote_to_bytes(raw.replace(b"+", b" "))
    return raw.decode("utf-8", "surrogateescape")
