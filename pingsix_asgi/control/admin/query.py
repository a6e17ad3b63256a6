"""Lists: which items, in which order, which page. Source: apisix/admin/v3_adapter.lua."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from ...types import JSON
from .exchange import Refusal, refused
from .pattern import Pattern
from .repository import Stored

PAGE_SIZES: Final = range(10, 501)
_FILTERED_BY: Final = ("service_id", "upstream_id")

Test = Callable[[dict[str, JSON]], bool]


class Selection:
    """What a query asks for of the resources of a kind. Raises Refusal."""

    def __init__(self, kind: str, query: Mapping[str, str]) -> None:
        self._tests = _tests(kind, query)
        self._page = _page(query)

    def takes(self, stored: Stored) -> bool:
        """Try all tests; a document that is no object passes only when there are none."""
        if not self._tests:
            return True
        document = stored.document
        return isinstance(document, dict) and all(test(document) for test in self._tests)

    def cut(self, found: list[Stored]) -> list[Stored]:
        """Return the page that is asked for, in the order of creation."""
        found.sort(key=lambda one: (one.item.created, one.item.key))
        return found[self._page]


def _tests(kind: str, query: Mapping[str, str]) -> list[Test]:
    tests: list[Test] = []
    if "name" in query:
        pattern = _pattern(query["name"])
        tests.append(lambda value: _found(pattern, [value.get("name")]))
    if "label" in query:
        label = query["label"]
        tests.append(lambda value: isinstance(of := value.get("labels"), dict) and label in of)
    if "uri" in query:
        uri_pattern = _pattern(query["uri"])
        tests.append(lambda value: _found(uri_pattern, _uris(value)))
    if kind == "routes":
        wanted = dict(parse_qsl(query.get("filter", "")))
        tests += [_equals(key, wanted[key]) for key in _FILTERED_BY if key in wanted]
    return tests


def _equals(key: str, wanted: str) -> Test:
    return lambda value: str(value.get(key)) == wanted


def _uris(value: dict[str, JSON]) -> list[JSON]:
    uris = value.get("uris")
    return [value.get("uri"), *(uris if isinstance(uris, list) else ())]


def _found(pattern: Pattern, texts: Sequence[JSON]) -> bool:
    return any(isinstance(text, str) and pattern.is_in(text) for text in texts)


def _pattern(text: str) -> Pattern:
    try:
        return Pattern(text)
    except ValueError as error:
        raise refused(400, f"invalid regular expression: {error}") from None


def _page(query: Mapping[str, str]) -> slice:
    if "page" not in query or "page_size" not in query:
        return slice(None)
    size = _number(query["page_size"])
    if size not in PAGE_SIZES:
        raise Refusal(400, "page_size must be between 10 and 500")
    page = max(1, _number(query["page"]))
    return slice((page - 1) * size, page * size)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
