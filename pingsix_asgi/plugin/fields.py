"""Field types that several plugin confs share."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

Realm: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[\x20\x21\x23-\x5B\x5D-\x7E]+$")
]
"""A realm for WWW-Authenticate: printable ASCII without the quote and the backslash."""

_IPV6_NETWORK = re.compile(r"[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){1,16}/[0-9]{1,3}")


def _address_text(text: str) -> str:
    """Refuse what is no address or network; the size of an IPv6 one is judged where it is used."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        if not _IPV6_NETWORK.fullmatch(text):
            raise ValueError("object matches none of the required") from None
    return text


AddressText: TypeAlias = Annotated[str, AfterValidator(_address_text)]
"""An IP address or CIDR block. What looks like an IPv6 block passes: APISIX finds its faults later,
in other words."""
