"""Field types that several plugin confs share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

Realm: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[\x20\x21\x23-\x5B\x5D-\x7E]+$")
]
"""A realm for WWW-Authenticate: printable ASCII without the quote and the backslash."""
