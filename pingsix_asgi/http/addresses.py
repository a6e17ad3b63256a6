"""IP addresses in text, sets of them and of networks, and the test whether one is in a set."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAX_REMEMBERED = 4096
"""Verdicts kept per set: clients come back, and a client can change its address at no cost."""


class AddressSet:
    """An immutable set of addresses and CIDR networks, IPv4 and IPv6.

    ``text in addresses`` is False for text that is not an address. An IPv4 address written as an
    IPv6 one (::ffff:1.2.3.4) is the IPv4 address. Raises ValueError for a bad entry.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        singles: set[Address] = set()
        networks: list[Network] = []
        for entry in entries:
            network = ipaddress.ip_network(entry, strict=False)
            if network.num_addresses == 1:
                singles.add(_plain(network.network_address))
            else:
                networks.append(network)
        self._singles = frozenset(singles)
        self._networks = tuple(networks)
        self._remembered: dict[str, bool] = {}

    def __contains__(self, text: str) -> bool:
        verdict = self._remembered.get(text)
        if verdict is None:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            verdict = self._remembered[text] = self._decide(text)
        return verdict

    def _decide(self, text: str) -> bool:
        try:
            address = _plain(ipaddress.ip_address(text))
        except ValueError:
            return False
        return address in self._singles or any(address in network for network in self._networks)


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse_address(text: str) -> tuple[str, int | None] | None:
    """Split "1.2.3.4", "1.2.3.4:80", "::1" or "[::1]:80" into address and port; None if bad.

    An IPv6 zone ("fe80::1%eth0") means something on one host only, and may hold any character.
    """
    host, port_text = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port_text = rest[1:] if rest.startswith(":") else rest
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
    if "%" in host:
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    if not port_text:
        return host, None
    if not (port_text.isdecimal() and 1 <= int(port_text) <= 65535):
        return None
    return host, int(port_text)
