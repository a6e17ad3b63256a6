"""Names as every program of this machine sees them, without blocking the event loop."""

from __future__ import annotations

import asyncio
import socket

from ..errors import NoUpstream
from .discovery import is_localhost
from .services import Addresses, Resolver, ServiceRecords


class SystemResolver:
    """Addresses by getaddrinfo in a thread (hosts file included); no TTL is known for them.

    SRV records, which getaddrinfo does not know, are asked from the servers of resolv.conf.
    """

    def __init__(self) -> None:
        self._dns: Resolver | None = None

    async def addresses(self, host: str) -> Addresses:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(
                host, None, type=socket.SOCK_STREAM, flags=_families(host)
            )
        except (OSError, UnicodeError) as error:
            raise NoUpstream(f"{host} does not resolve: {error}") from error
        return Addresses(tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)))

    async def services(self, name: str) -> ServiceRecords:
        if self._dns is None:
            from .dns_resolver import DnsResolver  # most gateways never need it

            self._dns = DnsResolver()
        return await self._dns.services(name)


def _families(host: str) -> int:
    # IPv6 addresses are of no use on a machine that has none itself, apart from ::1
    return 0 if is_localhost(host) else socket.AI_ADDRCONFIG
