"""What the tables of variables share: their types, and reading one header line by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from ..types import JSON, RawHeaders

if TYPE_CHECKING:
    from ..context import Context

Getter: TypeAlias = Callable[["Context"], JSON]
"""Reads a variable of one request: text, a JSON value, or None for none."""
Prefix: TypeAlias = Callable[[str], Getter]
"""Makes the getter for what follows a prefix, e.g. for "user_agent" of "http_user_agent"."""


def text(value: bytes) -> str:
    """Decode; bytes that are not UTF-8 become surrogate escapes, so nothing is lost."""
    return value.decode("utf-8", "surrogateescape")


def header_reader(name: str) -> Callable[[RawHeaders], str | None]:
    """Return a function that finds a header by its name in a variable.

    "_" stands for "-" or "_", and several lines are joined as nginx does it: by "; " for cookies,
    else by ", ".
    """
    wanted = name.lower().replace("_", "-").encode("latin-1", "replace")
    size = len(wanted)
    joint = "; " if wanted == b"cookie" else ", "

    def read(headers: RawHeaders) -> str | None:
        found = None
        for key, value in headers:
            if key == wanted or (
                len(key) == size and b"_" in key and key.replace(b"_", b"-") == wanted
            ):
                found = text(value) if found is None else found + joint + text(value)
        return found

    return read
