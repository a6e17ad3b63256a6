"""The part of JSONPath (RFC 9535) that APISIX's examples use: names, indexes, ``*`` and ``..``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from ..types import JSON

_STEP = re.compile(
    r"""(?:(?P<deep>\.\.)|\.)?(?:
        (?P<name>[^.\[\]*]+)
      | (?P<any>\*)
      | \[\s*(?:(?P<index>-?[0-9]{1,9})|(?P<wild>\*)|'(?P<single>[^']*)'|"(?P<double>[^"]*)")\s*\]
    )""",
    re.VERBOSE,
)
_MAX_FOUND = 10_000
"""Values returned at most: ".." and "*" can multiply, and the body is the client's."""


def compile_path(text: str) -> Callable[[JSON], list[JSON]]:
    """Compile a path; the leading "$." may be left out. Raises ValueError.

    The function returns every value the path leads to, in document order.
    """
    rest = text.removeprefix("$")
    steps: list[tuple[bool, str | int | None]] = []
    at = 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None:
            raise ValueError(f'bad path "{text}" at {rest[at:]!r}')
        key: str | int | None = found["name"] or found["single"] or found["double"]
        if found["index"]:
            key = int(found["index"])
        steps.append((found["deep"] is not None, key))
        at = found.end()
    if not steps:
        raise ValueError(f'bad path "{text}": it names nothing')

    def find(document: JSON) -> list[JSON]:
        values: list[JSON] = [document]
        for deep, key in steps:
            places = _everything(values) if deep else iter(values)
            values = []
            for value in _follow(places, key):
                values.append(value)
                if len(values) >= _MAX_FOUND:
                    break
        return values

    return find


def _follow(places: Iterable[JSON], key: str | int | None) -> Iterator[JSON]:
    for place in places:
        if key is None:
            yield from _children(place)
        elif isinstance(key, str):
            if isinstance(place, dict) and key in place:
                yield place[key]
        elif isinstance(place, list) and -len(place) <= key < len(place):
            yield place[key]


def _children(value: JSON) -> Iterable[JSON]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _everything(values: Iterable[JSON]) -> Iterator[JSON]:
    """Yield the values and all that is inside them, outermost first."""
    waiting = [iter(values)]
    while waiting:
        for value in waiting[-1]:
            yield value
            waiting.append(iter(_children(value)))
            break
        else:
            waiting.pop()
