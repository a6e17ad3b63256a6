"""An upstream node, and the values that say how it is connected to.

The values are frozen and hashable: equal keys share one connection pool across snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

LOCAL_HOST = "@app"
"""Host of the node that stands for the wrapped app."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that connecting, one write and one read may take; each counts inactivity.

    Default: 60 each, nginx's and so APISIX's.
    """

    connect: float = 60.0
    send: float = 60.0
    read: float = 60.0


@dataclass(frozen=True, slots=True)
class TLSOptions:
    """How a node is spoken to over TLS. Everything in PEM text, so that equal options are equal.

    Default: the certificate is not verified, as in APISIX.
    """

    verify: bool = False
    ca_file: str | None = None
    """Path of the trusted authorities; None for the system's."""
    client_cert: str | None = None
    client_key: str | None = None


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Limits on connections kept for reuse (``keepalive_pool``). Default: APISIX's.

    ``size`` counts idle connections per node, ``idle_timeout_s`` their age (0: no limit),
    ``max_requests`` what one connection serves before it is closed.
    """

    size: int = 320
    idle_timeout_s: float = 60.0
    max_requests: int = 1000


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What makes two connections interchangeable.

    ``host`` is an IP address, or a name for the system to resolve. ``server_name`` is what TLS asks
    for (SNI) and verifies; None for ``host``.
    """

    host: str
    port: int
    tls: TLSOptions | None = None
    server_name: str | None = None
    keepalive: Keepalive = Keepalive()


class Verdict(Protocol):
    """What health checks think of a node."""

    @property
    def is_healthy(self) -> bool: ...


class _AlwaysHealthy:
    __slots__ = ()
    is_healthy = True


ALWAYS_HEALTHY: Verdict = _AlwaysHealthy()


class Node:
    """One address behind an upstream, with what balancers and the proxy need to know of it."""

    __slots__ = (
        "active",
        "address",
        "health",
        "host",
        "is_local",
        "name",
        "pool",
        "port",
        "priority",
        "score",
        "scored_at",
        "weight",
    )

    def __init__(
        self, host: str, port: int, *, address: str = "", weight: int = 1, priority: int = 0
    ) -> None:
        self.host = host
        """As configured: a name or an IP address."""
        self.address = address or host
        """The IP address ``host`` resolved to; ``host`` while it is not resolved."""
        self.port = port
        self.weight = weight
        self.priority = priority
        self.is_local = host == LOCAL_HOST
        self.pool: Any = None
        """Connections to the node (proxy.pool.Pool); None for the wrapped app."""
        self.health: Verdict = ALWAYS_HEALTHY
        self.active = 0
        """Requests under way."""
        self.score = 0.0
        """Decayed mean of response seconds, for the ewma balancer."""
        self.scored_at = -inf
        """Monotonic time of the latest sample in ``score``."""
        name = f"[{self.address}]" if ":" in self.address else self.address
        self.name = f"{name}:{port}"
        """"address:port", for logs and variables."""

    def __repr__(self) -> str:
        return f"Node({self.host} {self.name} weight={self.weight} active={self.active})"
