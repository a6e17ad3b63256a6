"""Configured nodes and service names to addresses, with the last good answer kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from math import lcm
from typing import Any

from ..errors import NoUpstream
from ..model.upstream import Upstream, split_node
from .node import LOCAL_HOST
from .services import Addresses, Resolver, ServiceRecord, ServiceRecords

logger = logging.getLogger("pingsix_asgi.upstream")

Answer = Addresses | ServiceRecords
Answers = dict[str, Answer]
Ask = Callable[[str], Coroutine[Any, Any, Answer]]

_SRV = "SRV "

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Location:
    """Where a node is: one address of one configured host."""

    host: str
    address: str
    port: int
    weight: int
    priority: int


@dataclass(frozen=True, slots=True)
class Found:
    """Result of one resolution. ``ttl_s`` is the shortest of the answers, None if none has one.

    ``is_complete`` is false when some name failed and an older answer, or nothing, stands for it.
    """

    locations: tuple[Location, ...]
    ttl_s: float | None
    is_complete: bool


class Discovery:
    """Finds the nodes of one upstream.

    A literal address is one node. Every A and AAAA address of a name is a node with the configured
    weight (PingSIX; APISIX takes one address). ``discovery_type: dns`` asks for SRV records, then
    for addresses.

    ``answers`` keeps the last good answer to each question, and a question that fails is answered
    from it.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        name: str,
        resolver: Resolver,
        timeout_s: float,
        answers: Answers,
    ) -> None:
        self._name = name
        self._nodes = upstream.nodes or ()
        self._service_name: str | None = None
        if upstream.service_name is not None:
            self._service_name, self._service_port = split_node(upstream.service_name)
        self._port = _PORTS[upstream.scheme]
        self._resolver, self._timeout_s, self._answers = resolver, timeout_s, answers
        self._names = sorted({node.host for node in self._nodes if not is_literal(node.host)})

    @property
    def is_static(self) -> bool:
        """True when nothing has to be resolved."""
        return not self._names and self._service_name is None

    def known(self) -> tuple[Location, ...]:
        """Return what can be said without asking: literals, and names answered before."""
        if self._service_name is not None:
            return tuple(self._service_locations(self._service_name))
        return tuple(
            location
            for node in self._nodes
            for location in self._expand(
                node.host, node.port or self._port, node.weight, node.priority
            )
        )

    async def resolve(self) -> Found:
        """Ask for every name at once, all within the upstream's deadline.

        Raises NoUpstream when there is no node at all, not even from older answers.
        """
        ends_at = asyncio.get_running_loop().time() + self._timeout_s
        names, failed = self._names, 0
        if self._service_name is not None:
            question = _srv(self._service_name)
            failed += await self._ask({question: self._resolver.services}, ends_at)
            names = self._service_targets()
        failed += await self._ask(dict.fromkeys(names, self._resolver.addresses), ends_at)
        locations = self.known()
        if not locations:
            raise NoUpstream(f"upstream {self._name}: no name resolves")
        return Found(locations, self._ttl_s(names), is_complete=not failed)

    async def _ask(self, questions: Mapping[str, Ask], ends_at: float) -> int:
        """Keep the answers that come in time; return how many do not."""
        if not questions:
            return 0
        loop = asyncio.get_running_loop()
        tasks = {
            question: loop.create_task(ask(question.removeprefix(_SRV)))
            for question, ask in questions.items()
        }
        try:
            await asyncio.wait(tasks.values(), timeout=max(0.0, ends_at - loop.time()))
        finally:
            late = [task for task in tasks.values() if not task.done()]
            for task in late:
                task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return sum(not self._keep(question, task) for question, task in tasks.items())

    def _keep(self, question: str, task: asyncio.Task[Answer]) -> bool:
        try:
            self._answers[question] = task.result()
        except asyncio.CancelledError:
            reason = f"no answer in {self._timeout_s:g} s"
        except NoUpstream as error:
            reason = str(error)
        else:
            return True
        kept = ", the last answer is kept" if question in self._answers else ""
        logger.warning("upstream %s: %s: %s%s", self._name, question, reason, kept)
        return False

    def _service_targets(self) -> list[str]:
        """Return the names that stand for the service: SRV targets, or itself without records."""
        records = self._records()
        if records is None:
            return []
        if not records:
            return [self._service_name or ""]
        return sorted({item.target for item in records if not is_literal(item.target)})

    def _records(self) -> tuple[ServiceRecord, ...] | None:
        answer = self._answers.get(_srv(self._service_name or ""))
        return answer.records if isinstance(answer, ServiceRecords) else None

    def _service_locations(self, service: str) -> list[Location]:
        records = self._records()
        if not records:
            return self._expand(service, self._service_port or self._port, 1, 0)
        found = [
            (record, self._expand(record.target, self._port_of(record), 1, -record.priority))
            for record in records
        ]
        # a record's weight is split over its addresses; the common multiple keeps it whole
        share = lcm(*(len(locations) for _, locations in found if locations))
        return [
            replace(location, weight=(record.weight or 1) * share // len(locations))
            for record, locations in found
            for location in locations
        ]

    def _port_of(self, record: ServiceRecord) -> int:
        return self._service_port or record.port or self._port

    def _expand(self, host: str, port: int, weight: int, priority: int) -> list[Location]:
        """Return a location per address of ``host``; none while it has no answer."""
        if is_literal(host):
            return [Location(host, host, port, weight, priority)]
        answer = self._answers.get(host)
        addresses = answer.addresses if isinstance(answer, Addresses) else ()
        locations = [
            Location(host, address, port, weight, priority)
            for address in sorted(set(addresses), key=_address_order)
        ]
        if is_localhost(host) and len(locations) > 1:
            # most local services listen on 127.0.0.1 only: ::1 is for those that do not
            locations[1:] = [replace(item, priority=priority - 1) for item in locations[1:]]
        return locations

    def _ttl_s(self, names: list[str]) -> float | None:
        questions = names if self._service_name is None else [_srv(self._service_name), *names]
        answers = (self._answers.get(question) for question in questions)
        ttls = [item.ttl_s for item in answers if item is not None and item.ttl_s is not None]
        return min(ttls, default=None)


def is_literal(host: str) -> bool:
    """Tell whether ``host`` needs no resolution: an IP address, or the wrapped app."""
    if host == LOCAL_HOST:
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_localhost(host: str) -> bool:
    """Tell whether ``host`` is a name of this machine alone (RFC 6761 §6.3)."""
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def _srv(name: str) -> str:
    return _SRV + name


def _address_order(text: str) -> tuple[int, bytes]:
    address = ip_address(text)
    return address.version, address.packed
