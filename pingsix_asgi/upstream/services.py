"""What an upstream needs from the runtime that outlives it; tests give their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..clock import Clock
from .node import PoolKey, Timeouts

T = TypeVar("T")

DEFAULT_TIMEOUTS = Timeouts()


class NodePool(Protocol):
    """Connections to one endpoint (proxy.pool.Pool)."""

    def retire(self) -> None:
        """Close what is idle now, and every busy connection as soon as its exchange is over."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """IP addresses of a name. ``ttl_s`` says how long they are good; None when nobody knows."""

    addresses: tuple[str, ...]
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """One SRV record (RFC 2782): a lower ``priority`` is preferred, ``port`` 0 is unset."""

    target: str
    port: int
    priority: int = 0
    weight: int = 1


@dataclass(frozen=True, slots=True)
class ServiceRecords:
    """SRV records of a service name. Empty when the name has none."""

    records: tuple[ServiceRecord, ...]
    ttl_s: float | None = None


class Resolver(Protocol):
    """Names to addresses, without blocking the event loop."""

    async def addresses(self, host: str) -> Addresses:
        """Return every A and AAAA address of ``host``. Raises NoUpstream when there is none."""

    async def services(self, name: str) -> ServiceRecords:
        """Return the SRV records of ``name``. Raises NoUpstream when the question fails."""


@dataclass(frozen=True, slots=True)
class UpstreamDefaults:
    """What holds for an upstream that does not say otherwise (settings, ``pingsix.defaults``).

    ``dns_timeout_s`` bounds one resolution of all names of an upstream. ``dns_refresh_s`` is the
    time between two of them; None: by the records' TTL, or 30 s where no TTL is known.
    """

    timeout: Timeouts = DEFAULT_TIMEOUTS
    tls_verify: bool = False
    tls_ca_file: str | None = None
    dns_timeout_s: float = 5.0
    dns_refresh_s: float | None = None


class UpstreamServices(Protocol):
    """The part of snapshot.runtime.Runtime that upstreams see."""

    @property
    def clock(self) -> Clock: ...

    @property
    def resolver(self) -> Resolver: ...

    @property
    def defaults(self) -> UpstreamDefaults: ...

    def make_pool(self, key: PoolKey) -> NodePool:
        """Make a pool. Who calls owns it: equal keys are shared on this side (pools.py)."""

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept under ``key``, making it first if needed.

        It may be forgotten once nobody else refers to it (a WeakValueDictionary does).
        """

    def spawn(self, coro: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``coro`` in the background, until it ends, is cancelled or the runtime closes."""
