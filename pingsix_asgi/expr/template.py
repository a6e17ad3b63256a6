"""Text with variables: ``$name``, ``${name}``, ``${name ?? default}``; ``\\$`` is no variable.

Names hold letters, digits, "_" and "."; a variable without a value becomes its default, else
nothing. The backslash of ``\\$`` stays, as in APISIX. Source: apisix/core/utils.lua resolve_var.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from ..types import JSON
from .variables import Getter, getter, needs_body

if TYPE_CHECKING:
    from ..context import Context

_VARIABLE = re.compile(
    r"(?<!\\)\$(?:([A-Za-z0-9_.]+)|\{\s*([A-Za-z0-9_.]+)\s*(?:\?\?\s*([^}]*?)\s*)?\})"
)


class Template:
    """A parsed text. Values that are not text are written as JSON.

    Bytes that are not UTF-8 come out as surrogate escapes: encode with "surrogateescape".
    """

    __slots__ = ("_end", "_parts", "is_constant", "names", "needs_body", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        parts: list[tuple[str, Getter, str]] = []
        names = []
        at = 0
        for found in _VARIABLE.finditer(text):
            name = found[1] or found[2]
            names.append(name)
            parts.append((text[at : found.start()], getter(name), found[3] or ""))
            at = found.end()
        self._parts = tuple(parts)
        self._end = text[at:]
        self.names = tuple(names)
        """The variables used, in order."""
        self.is_constant = not parts
        """There is no variable in it: it renders to itself."""
        self.needs_body = any(needs_body(name) for name in names)
        """The request body must be read before it can be rendered."""

    def render(self, ctx: Context) -> str:
        """Return the text with the values of this request."""
        return self.resolve(ctx)[0] if self._parts else self._end

    def resolve(self, ctx: Context) -> tuple[str, int]:
        """Return the text, and how many of its variables had a value or a default."""
        pieces: list[str] = []
        resolved = 0
        for before, read, default in self._parts:
            value = read(ctx)
            pieces.append(before)
            if value is None:
                resolved += default != ""
                pieces.append(default)
            else:
                resolved += 1
                pieces.append(value if isinstance(value, str) else as_text(value))
        pieces.append(self._end)
        return "".join(pieces), resolved

    def __repr__(self) -> str:
        return f"Template({self.text!r})"


def as_text(value: JSON) -> str:
    """Write a variable's value as text: JSON for what is not text, "" for None."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
