"""Field types and parts that several resources share."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Hashable
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from ..types import JSON
from .base import Located, Model

T = TypeVar("T")

ID_PATTERN = r"^[a-zA-Z0-9-_.]+$"
HOST_PATTERN = r"^\*$|^\*?[0-9a-zA-Z-._\[\]:]+$"
_MAX_ID_CHARS = 64
_ID_HINT = 'expected 1 to 64 letters, digits, "-", "_" and ".", or a positive integer'
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]+")

Many: TypeAlias = Annotated[tuple[T, ...], Field(strict=False)]
"""A JSON array, kept as a tuple."""


def _id_text(value: JSON) -> JSON:
    """Accept an integer of at least 1 for an id, as APISIX and PingSIX's files do."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value < 1:
        raise Located("object matches none of the required", hint=_ID_HINT)
    return str(value)


def _checked_id(value: str) -> str:
    if not 1 <= len(value) <= _MAX_ID_CHARS or re.fullmatch(ID_PATTERN, value) is None:
        raise Located("object matches none of the required", hint=_ID_HINT)
    return value


ID: TypeAlias = Annotated[str, BeforeValidator(_id_text), AfterValidator(_checked_id)]
"""1 to 64 of letters, digits, "-", "_" and "."; a positive integer counts as its text."""

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]
Description: TypeAlias = Annotated[str, Field(max_length=256)]
Labels: TypeAlias = dict[str, Annotated[str, Field(min_length=1, max_length=256, pattern=r"^\S+$")]]
HostPattern: TypeAlias = Annotated[str, Field(pattern=HOST_PATTERN)]
"""A host name, an address, or a suffix after "*"; "*" alone is every host."""
PluginConfs: TypeAlias = Annotated[dict[str, dict[str, Any]], WithJsonSchema({"type": "object"})]
"""Plugin name to conf; a conf is validated by its plugin, see plugin/layer.py."""


def is_reference(value: str) -> bool:
    """Tell whether a text names a secret kept elsewhere, as ``$env://…`` and ``$secret://…`` do."""
    return value[:10].lower().startswith(("$env://", "$secret://"))


_MAX_PEM_CHARS = 64 * 1024


def pem(at_least: int) -> AfterValidator:
    """Make a validator of PEM text, or of a reference to it, whose length is not judged."""

    def check(value: str) -> str:
        if is_reference(value):
            return value
        if len(value) < at_least:
            raise ValueError(f"string too short, expected at least {at_least}, got {len(value)}")
        if len(value) > _MAX_PEM_CHARS:
            raise ValueError(
                f"string too long, expected at most {_MAX_PEM_CHARS}, got {len(value)}"
            )
        return value

    return AfterValidator(check)


def unique(items: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse an array with equal items."""
    seen: dict[Hashable, int] = {}
    for index, item in enumerate(items, 1):
        first = seen.setdefault(item, index)
        if first != index:
            raise ValueError(f"expected unique items but items {first} and {index} are equal")
    return items


Unique: TypeAlias = Annotated[tuple[T, ...], Field(strict=False), AfterValidator(unique)]
"""A JSON array of different items."""


def _method(value: str) -> str:
    if _TOKEN.fullmatch(value) is None:
        raise ValueError("matches none of the enum values")
    return value


Method: TypeAlias = Annotated[str, AfterValidator(_method)]
"""An upper-case HTTP method. Differs: APISIX knows ten, PingSIX takes any token."""


def _address(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        hint = f'"{value}" is neither an IP address nor a CIDR block'
        raise Located("object matches none of the required", hint=hint) from None
    return value


Address: TypeAlias = Annotated[str, AfterValidator(_address)]
"""An IP address or a CIDR block."""


def _refuse(reason: str) -> BeforeValidator:
    def check(value: JSON) -> None:
        if value is not None:
            raise ValueError(f"not supported: {reason}")

    return BeforeValidator(check)


Lua: TypeAlias = Annotated[None, _refuse("Lua code cannot run here")]
"""A field of APISIX that holds Lua code: refused, never ignored."""


class Timeout(Model):
    """Seconds for connecting, one write and one read to an upstream; all three are needed."""

    connect: Annotated[float, Field(gt=0)]
    send: Annotated[float, Field(gt=0)]
    read: Annotated[float, Field(gt=0)]


class Resource(Model):
    """What every resource may have."""

    id: ID | None = None
    name: Name | None = None
    desc: Description | None = None
    labels: Labels | None = None
    create_time: int | None = None
    update_time: int | None = None
