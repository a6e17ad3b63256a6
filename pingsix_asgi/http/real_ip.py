"""The client's address before anything is decided: what nginx's realip module does for APISIX.

A peer that is believed names the client in a header; everything after it, routing included, sees
that address. Only the peers are asked about for each request.
"""

from __future__ import annotations

from collections.abc import Iterable

from .addresses import AddressSet, parse_address
from .request import Request

UNIX = "unix:"
"""Stands for every peer on a Unix socket, which has no address: ""."""


def peers(entries: Iterable[str]) -> frozenset[str] | AddressSet:
    """Return the set of peers that are believed: addresses, CIDR blocks and "unix:"."""
    given = set(entries)
    unix = {""} if UNIX in given else set()
    given.discard(UNIX)
    if all(entry.replace(".", "").isdigit() for entry in given):
        # IPv4 addresses, which the default is: asked about without a call of Python.
        return frozenset({*given, *(f"::ffff:{entry}" for entry in given), *unix})
    return _Peers(given, unix)


class _Peers(AddressSet):
    def __init__(self, entries: Iterable[str], others: Iterable[str]) -> None:
        super().__init__(entries)
        self._others = frozenset(others)

    def _decide(self, text: str) -> bool:
        return text in self._others or super()._decide(text)


def take_client(request: Request, value: bytes) -> None:
    """Replace the client by the last address in ``value``; text that is none changes nothing."""
    client = parse_address(value.decode("latin-1").rpartition(",")[2].strip())
    if client is not None:
        request.client = client[0], client[1] or 0
