"""What one process serves and how, settled once from settings and command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .sockets import format_address
from .uvicorn_host import HTTPParser

ServerName: TypeAlias = Literal["uvicorn", "granian"]
Role: TypeAlias = Literal["gateway", "status", "metrics", "admin"]

GRACE_PERIOD_S = 300.0
"""Longest wait for requests in flight. Source: PingSIX (Pingora's ``grace_period_seconds``)."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One address and what answers there."""

    role: Role
    host: str
    port: int
    cert_path: str | None = None
    key_path: str | None = None
    http2: bool = False

    @property
    def address(self) -> str:
        return format_address(self.host, self.port)

    @property
    def is_tls(self) -> bool:
        return self.cert_path is not None

    @property
    def is_loopback(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """``drain_delay_s`` is the time between readiness failing and the end of accepting.

    ``grace_period_s`` bounds the wait for requests in flight after that.
    """

    listeners: tuple[Listener, ...]
    server: ServerName = "uvicorn"
    parser: HTTPParser = "auto"
    workers: int = 1
    drain_delay_s: float = 0.0
    grace_period_s: float = GRACE_PERIOD_S
