"""Field types that several plugin confs share."""

from __future__ import annotations

import ipaddress
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

Realm: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[\x20\x21\x23-\x5B\x5D-\x7E]+$")
]
"""A realm for WWW-Authenticate: printable ASCII without the quote and the backslash."""


def _address_text(text: str) -> str:
    """Refuse what is no IPv4 address or network; IPv6 is judged where it is used."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        if ":" not in text:
            raise ValueError("object matches none of the required") from None
    return text


AddressText: TypeAlias = Annotated[str, AfterValidator(_address_text)]
"""An IP address or CIDR block. A wrong IPv6 one passes: APISIX finds that later, in other words."""
