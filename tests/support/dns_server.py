"""A DNS server on 127.0.0.1 whose records the test edits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class DnsServer(asyncio.DatagramProtocol):
    """Answers A, AAAA, SRV and whatever else its records hold, over UDP.

    ``records`` maps (name, type) to record texts, as in a zone file: ``("a.test", "A")`` to
    ``["10.0.0.1"]``. A name without any record does not exist. Names in ``silent`` get no answer,
    names in ``failing`` SERVFAIL; a (name, type) pair in them means that type only.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.ttl_s = 60
        self.silent: set[str | tuple[str, str]] = set()
        self.failing: set[str | tuple[str, str]] = set()
        self.asked: list[tuple[str, str]] = []
        self.address = ""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        host, port = transport.get_extra_info("sockname")
        self.address = f"{host}:{port}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if not self.silent.isdisjoint({name, (name, kind)}):
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        records = self.records.get((name, kind))
        if not self.failing.isdisjoint({name, (name, kind)}):
            response.set_rcode(dns.rcode.SERVFAIL)
        elif records:
            response.answer.append(
                dns.rrset.from_text_list(question.name, self.ttl_s, "IN", kind, records)
            )
        elif not any(known == name for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(response.to_wire(), addr)


@contextlib.asynccontextmanager
async def dns_server() -> AsyncIterator[DnsServer]:
    """Run a DnsServer on an ephemeral port of 127.0.0.1."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(DnsServer, ("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
