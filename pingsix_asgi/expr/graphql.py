"""Read from a GraphQL document what a gateway decides on: its operation and its root fields.

Fragments at the root are resolved, so that a field cannot hide in one. Source: GraphQL
specification (October 2021) §2; apisix/core/ctx.lua for what is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_BYTES: Final = 1_048_576
"""Largest document that is read (APISIX's graphql.max_size)."""
_MAX_DEPTH: Final = 64

_TOKEN = re.compile(
    r"""[\s,\ufeff]+|\#[^\n\r]*
    |(?P<token>\.\.\.|[!$&()\[\]{}:=@|]|[_A-Za-z][_0-9A-Za-z]*
        |-?[0-9][0-9.eE+-]*|\"\"\"(?:\\\"\"\"|(?!\"\"\").)*\"\"\"|"(?:[^"\\\n]|\\.)*")""",
    re.VERBOSE | re.DOTALL,
)
_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*")
_KINDS = ("query", "mutation", "subscription")
_CLOSING = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document."""

    kind: str
    """"query", "mutation" or "subscription"."""
    name: str
    """ "" when it has none."""
    root_fields: tuple[str, ...]
    """Names (not aliases) of the fields at its root, each once, in order."""


@dataclass(frozen=True, slots=True)
class _Selections:
    """What stands between the braces of an operation or fragment."""

    items: tuple[tuple[str, str | _Selections], ...]
    """("field", name), ("spread", fragment name) or ("inline", selections)."""


def parse_operation(text: str, name: str | None = None) -> Operation:
    """Return the operation called ``name``, or the first one. Raises ValueError."""
    parser = _Parser(text)
    operations, fragments = parser.document()
    for kind, own_name, selections in operations:
        if name is None or own_name == name:
            fields: dict[str, None] = {}
            _collect(selections, fragments, fields, set())
            return Operation(kind, own_name, tuple(fields))
    raise ValueError("the document has no such operation")


def _collect(
    selections: _Selections,
    fragments: Mapping[str, _Selections],
    fields: dict[str, None],
    seen: set[str],
) -> None:
    for what, value in selections.items:
        if isinstance(value, _Selections):
            _collect(value, fragments, fields, seen)
        elif what == "field":
            fields[value] = None
        elif value in fragments and value not in seen:
            seen.add(value)
            _collect(fragments[value], fragments, fields, seen)


class _Parser:
    def __init__(self, text: str) -> None:
        self._words: list[str] = []
        self._at = 0
        position = 0
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise ValueError(f"unexpected character at {position}")
            position = found.end()
            if found["token"]:
                self._words.append(found["token"])

    def document(self) -> tuple[list[tuple[str, str, _Selections]], dict[str, _Selections]]:
        operations = []
        fragments = {}
        while self._at < len(self._words):
            word = self._next()
            if word == "{":
                operations.append(("query", "", self._selections(0)))
            elif word in _KINDS:
                name = self._next() if _NAME.fullmatch(self._peek()) else ""
                self._skip_to_brace()
                operations.append((word, name, self._selections(0)))
            elif word == "fragment":
                name = self._next()
                self._skip_to_brace()
                fragments[name] = self._selections(0)
            else:
                raise ValueError(f"unexpected {word!r}")
        return operations, fragments

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _next(self) -> str:
        if self._at >= len(self._words):
            raise ValueError("unexpected end")
        self._at += 1
        return self._words[self._at - 1]

    def _skip_to_brace(self) -> None:
        """Skip variables, type condition and directives, and the brace that opens selections."""
        while (word := self._next()) != "{":
            if word in _CLOSING:
                self._skip_group(word)

    def _skip_group(self, opening: str) -> None:
        waiting = [_CLOSING[opening]]
        while waiting:
            word = self._next()
            if word in _CLOSING:
                waiting.append(_CLOSING[word])
            elif word == waiting[-1]:
                waiting.pop()
            elif word in (")", "}", "]"):
                raise ValueError(f"unexpected {word!r}")

    def _selections(self, depth: int) -> _Selections:
        """Read selections up to their closing brace; the opening one is behind."""
        if depth > _MAX_DEPTH:
            raise ValueError("too deep")
        items: list[tuple[str, str | _Selections]] = []
        while (word := self._next()) != "}":
            if word == "...":
                items.append(self._fragment(depth))
                continue
            if not _NAME.fullmatch(word):
                raise ValueError(f"unexpected {word!r}")
            if self._peek() == ":":  # the name so far was an alias
                self._next()
                word = self._next()
            items.append(("field", word))
            self._skip_arguments()
            if self._peek() == "{":
                self._skip_group(self._next())
        return _Selections(tuple(items))

    def _fragment(self, depth: int) -> tuple[str, str | _Selections]:
        word = self._peek()
        if _NAME.fullmatch(word) and word != "on":
            self._next()
            self._skip_arguments()
            return "spread", word
        self._skip_to_brace()
        return "inline", self._selections(depth + 1)

    def _skip_arguments(self) -> None:
        """Skip "(…)" and directives "@name(…)"."""
        while self._peek() in ("(", "@"):
            if self._next() == "@":
                self._next()
            else:
                self._skip_group("(")
