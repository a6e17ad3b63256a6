"""Types of settings, which are text when they come from the environment."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Annotated, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ..types import JSON

T = TypeVar("T")


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(f'"{value}": expected ip:port, host names are not allowed') from None
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f'"{value}": expected ip:port')
    return value


def is_loopback(address: str) -> bool:
    """Tell whether only this machine can reach ``ip:port``."""
    return ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_loopback


def listed(value: JSON) -> JSON:
    """Read a list from an environment variable: JSON, or items separated by commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return decoded(value)
    return [item.strip() for item in value.split(",") if item.strip()]


def decoded(value: JSON) -> JSON:
    """Read an object from an environment variable."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"expected JSON: {error}") from None


def networks(values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is neither an address nor a CIDR block."""
    for value in values:
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError(f'"{value}": expected an IP address or a CIDR block') from None
    return values


def peers(values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is neither an address, nor a CIDR block, nor "unix:"."""
    networks(tuple(value for value in values if value != "unix:"))
    return values


_NAME_SERVER = re.compile(r"(?:\[([^\]]+)\]|([^:]+))(?::[0-9]{1,5})?")


def name_servers(values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is no IP address with or without a port."""
    for value in values:
        found = _NAME_SERVER.fullmatch(value)
        try:
            ipaddress.ip_address(found[1] or found[2] if found else value)
        except ValueError:
            raise ValueError(f'"{value}": expected address or address:port') from None
    return values


def together(section: T, error: str, one: str, other: str) -> T:
    """Refuse one field without the other."""
    if (getattr(section, one) is None) != (getattr(section, other) is None):
        raise ValueError(f"{error}_required_together: {one} and {other}")
    return section


Address: TypeAlias = Annotated[str, AfterValidator(_address)]
Own: TypeAlias = Annotated[T, BeforeValidator(decoded)]
"""A section that may come from the environment as one JSON object."""
Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(listed)]
Filled: TypeAlias = Annotated[str, Field(min_length=1, pattern=r"\S")]
"""Text that is not blank."""


class Section(BaseModel):
    """A part of the settings: unknown keys refused; text is converted, it may be from outside."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)
