"""A resolver of our own: asks given DNS servers, or those of resolv.conf."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver

from ..errors import NoUpstream
from ..model.upstream import split_node
from .discovery import is_localhost
from .services import Addresses, ServiceRecord, ServiceRecords

DNS_PORT = 53
QUERY_TIMEOUT_S = 2.0
"""Wait for one answer before the next server is asked, as in APISIX."""


class DnsResolver:
    """Asks DNS servers; the hosts file and ``localhost`` come first.

    ``servers`` are "address" or "address:port" (``[IPv6]:port``); none means those of resolv.conf,
    with its search list. ``lifetime_s`` bounds all tries of one question; it should be less than
    the deadline of an upstream, so that the answer to A counts even if AAAA gets none.

    Raises ValueError for a server that is no address.
    """

    def __init__(
        self,
        servers: Sequence[str] = (),
        *,
        hosts_file: str = "/etc/hosts",
        lifetime_s: float = 4.0,
    ) -> None:
        self._servers = [_server(text) for text in servers]
        self._hosts = HostsFile(hosts_file)
        self._lifetime_s = lifetime_s
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def addresses(self, host: str) -> Addresses:
        listed = self._hosts.lookup(host)
        if listed:
            return Addresses(listed)
        if is_localhost(host):
            return Addresses(("127.0.0.1", "::1"))
        answers = await asyncio.gather(
            self._ask(host, "A"), self._ask(host, "AAAA"), return_exceptions=True
        )
        good = [answer for answer in answers if isinstance(answer, dns.resolver.Answer)]
        found = tuple(item.address for answer in good for item in answer)
        if not found:
            failures = [answer for answer in answers if isinstance(answer, BaseException)]
            raise failures[0] if failures else NoUpstream(f"{host} has no address")
        return Addresses(found, _ttl_s(good))

    async def services(self, name: str) -> ServiceRecords:
        answer = await self._ask(name, "SRV")
        if answer is None:
            return ServiceRecords(())
        records = tuple(
            ServiceRecord(
                item.target.to_text(omit_final_dot=True), item.port, item.priority, item.weight
            )
            for item in answer
            if item.target != dns.name.root  # RFC 2782: "." says that there is no such service
        )
        return ServiceRecords(records, _ttl_s([answer]))

    async def _ask(self, name: str, kind: str) -> dns.resolver.Answer | None:
        """Return the answer, or None when the name has no such record."""
        try:
            return await self._client().resolve(name, kind, lifetime=self._lifetime_s)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None
        except (dns.exception.DNSException, OSError) as error:
            raise NoUpstream(f"{kind} of {name}: {error}") from error

    def _client(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            self._resolver = dns.asyncresolver.Resolver(configure=not self._servers)
            self._resolver.timeout = QUERY_TIMEOUT_S
            self._resolver.use_search_by_default = not self._servers
            if self._servers:
                self._resolver.nameservers = list(self._servers)
        return self._resolver


class HostsFile:
    """Addresses of names in a hosts file, read again when it changes."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._version: tuple[int, int] | None = None
        self._addresses: dict[str, tuple[str, ...]] = {}

    def lookup(self, host: str) -> tuple[str, ...]:
        """Return the addresses of ``host``; none when it is not listed."""
        try:
            status = self._path.stat()
            version = status.st_mtime_ns, status.st_size
            if version != self._version:
                self._addresses = _parse_hosts(self._path.read_text("utf-8", "replace"))
                self._version = version
        except OSError:
            return ()
        return self._addresses.get(host.lower().rstrip("."), ())


def _parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            ip_address(address)
        except ValueError:
            continue
        for name in names:
            found.setdefault(name.lower(), {})[address] = None
    return {name: tuple(addresses) for name, addresses in found.items()}


def _server(text: str) -> dns.nameserver.Do53Nameserver:
    address, port = split_node(text)
    ip_address(address)
    return dns.nameserver.Do53Nameserver(address, port or DNS_PORT)


def _ttl_s(answers: list[dns.resolver.Answer]) -> float:
    return float(min(answer.rrset.ttl for answer in answers if answer.rrset is not None))
