"""Variables by name: nginx's and APISIX's, compiled to functions of the request.

``getter`` is meant for build time; what it returns is called per request. A variable set by a
plugin (``Context.set_var``) wins over the built-in one of its name; an unknown name has no value
unless a plugin sets it. Built-in ones are text, as in nginx, or None; body fields keep their JSON
type. Bytes that are not UTF-8 come as surrogate escapes. docs/variables.md lists them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ..types import JSON
from .body import BODY_PREFIXES, BODY_VARIABLES, body_field
from .reader import Getter, Prefix
from .request import REQUEST_PREFIXES, REQUEST_VARIABLES
from .response import RESPONSE_PREFIXES, RESPONSE_VARIABLES

if TYPE_CHECKING:
    from ..context import Context

__all__ = ["Getter", "getter", "known_names", "needs_body"]

_BUILT_IN: Final[Mapping[str, Getter]] = MappingProxyType(
    {**REQUEST_VARIABLES, **RESPONSE_VARIABLES, **BODY_VARIABLES}
)
_PREFIXES: Final[Mapping[str, Prefix]] = MappingProxyType(
    {**REQUEST_PREFIXES, **RESPONSE_PREFIXES, **BODY_PREFIXES}
)
_LOGIC = frozenset({"AND", "OR", "!AND", "!OR"})


@lru_cache(maxsize=4096)
def getter(name: str) -> Getter:
    """Return the function that reads variable ``name``; it never raises."""
    read = _BUILT_IN.get(name) or _by_prefix(name)
    if read is None:
        return lambda ctx: None if ctx.vars is None else ctx.vars.get(name)

    def get(ctx: Context) -> JSON:
        overrides = ctx.vars
        if overrides is not None and name in overrides:
            return overrides[name]
        return read(ctx)

    return get


def needs_body(subject: JSON) -> bool:
    """Tell whether a variable, or any variable of a ``vars`` document, reads the request body.

    Such a variable has no value until ``Context.read_body`` was awaited, which is for the caller to
    do (within a limit of its own) before it evaluates.
    """
    if isinstance(subject, str):
        return subject in BODY_VARIABLES or body_field(subject)
    if not isinstance(subject, list) or not subject:
        return False
    first = subject[0]
    if isinstance(first, str) and first.upper() not in _LOGIC:
        return needs_body(first)
    return any(needs_body(item) for item in subject if isinstance(item, list))


def known_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the built-in names and the prefixes of families, each sorted; for documentation."""
    return tuple(sorted(_BUILT_IN)), tuple(sorted(_PREFIXES))


def _by_prefix(name: str) -> Getter | None:
    found = max((prefix for prefix in _PREFIXES if name.startswith(prefix)), key=len, default="")
    return _PREFIXES[found](name[len(found) :]) if found and name != found else None
