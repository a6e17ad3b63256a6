"""Edits of headers as confs give them, compiled once: add, set and remove in a fixed order.

Values are templates (``$name``); in requests also ``$1`` … for the captures of a regex.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ..context import Context
from ..expr.template import Template
from ..http.headers import Headers

HeaderValue: TypeAlias = str | int | float
Captures: TypeAlias = re.Match[str] | None
Render: TypeAlias = Callable[[Context, Captures], bytes]

_CAPTURE = re.compile(r"\$(\d+)|\$\{(\d+)\}")
_NAME = re.compile(r"[!-9;-~]+")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Controls other than tab: in a header they would end the line or be refused on the way."""


class HeaderOps:
    """Edits applied in APISIX's order: add, then set, then remove.

    A value of ``set`` may be a list, which replaces by several lines. A value that renders empty is
    no line, as in nginx: adding it does nothing, setting it removes the header.
    """

    def __init__(
        self,
        *,
        add: Sequence[tuple[str, HeaderValue]] = (),
        replace: Mapping[str, HeaderValue | Sequence[HeaderValue]] | None = None,
        remove: Sequence[str] = (),
    ) -> None:
        self._add = [(_name(name), _renderer(value)) for name, value in add]
        self._set = [
            (_name(name), [_renderer(one) for one in _values(value)])
            for name, value in (replace or {}).items()
        ]
        self._remove = tuple(_name(name) for name in remove)
        values = [value for _, value in add]
        values += [one for value in (replace or {}).values() for one in _values(value)]
        self.needs_body = any(isinstance(one, str) and Template(one).needs_body for one in values)
        """Some value reads the request body, see ``Template.needs_body``."""

    def apply(self, headers: Headers, ctx: Context, captures: Captures = None) -> None:
        """Edit ``headers`` with the values of this request."""
        for name, render in self._add:
            if value := render(ctx, captures):
                headers.append(name, value)
        for name, renders in self._set:
            values = [value for render in renders if (value := render(ctx, captures))]
            if len(values) == 1:
                headers.set(name, values[0])
                continue
            headers.remove(name)
            for value in values:
                headers.append(name, value)
        if self._remove:
            headers.remove(*self._remove)

    def __bool__(self) -> bool:
        return bool(self._add or self._set or self._remove)


def check_header(name: str, value: object, *, lists: bool = False) -> None:
    """Check one header of a conf. Raises ValueError with APISIX's texts."""
    values = value if lists and isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise ValueError("invalid type as header value")
    if not name:
        raise ValueError("invalid field length in header")
    if not _NAME.fullmatch(name):
        raise ValueError("invalid field character in header")
    if any(isinstance(one, str) and _UNSAFE.search(one) for one in values):
        raise ValueError("invalid value character in header")


def is_structured(headers: Mapping[str, object]) -> bool:
    """Tell edits (add, set, remove) from a flat object of headers to set."""
    return any(isinstance(headers.get(kind), dict | list) for kind in ("add", "set", "remove"))


def number_text(value: HeaderValue) -> str:
    """Write a conf value as Lua writes it: 3 for 3.0."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _values(value: HeaderValue | Sequence[HeaderValue]) -> Sequence[HeaderValue]:
    return [value] if isinstance(value, str | int | float) else value


def _name(name: str) -> bytes:
    return name.strip().lower().encode("latin-1", "replace")


def _renderer(value: HeaderValue) -> Render:
    """Compile a value; captures are cut out first, so their text is never read as a template."""
    text = number_text(value)
    parts: list[Template | int] = []
    position = 0
    for found in _CAPTURE.finditer(text):
        parts.append(Template(text[position : found.start()]))
        parts.append(int(found[1] or found[2]))
        position = found.end()
    template = Template(text[position:])
    if not parts:
        if template.is_constant:
            constant = _safe(text)
            return lambda ctx, captures: constant
        return lambda ctx, captures: _safe(template.render(ctx))
    parts.append(template)

    def render(ctx: Context, captures: Captures) -> bytes:
        pieces = [
            _captured(captures, part) if isinstance(part, int) else part.render(ctx)
            for part in parts
        ]
        return _safe("".join(pieces))

    return render


def _captured(captures: Captures, number: int) -> str:
    if captures is None or number > len(captures.groups()):
        return ""
    return captures[number] or ""


def _safe(text: str) -> bytes:
    text = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", text)
    return text.encode("utf-8", "surrogateescape")
