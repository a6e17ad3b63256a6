"""What one process serves and how, settled once from settings and command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..settings import GRACE_PERIOD_S, Settings
from .sockets import format_address, parse_address

HTTPParser: TypeAlias = Literal["auto", "httptools", "zttp"]
"""uvicorn's parser; "auto" is zttp where it is installed."""
ServerName: TypeAlias = Literal["uvicorn", "granian"]
Role: TypeAlias = Literal["gateway", "status", "metrics", "admin"]


@dataclass(frozen=True, slots=True)
class Listener:
    """One address and what answers there."""

    role: Role
    host: str
    port: int
    cert_path: str | None = None
    key_path: str | None = None
    http2: bool = False
    is_tls: bool = False
    fallback_sni: str | None = None

    @property
    def address(self) -> str:
        """The address as it was configured."""
        return format_address(self.host, self.port)


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


def listeners_of(
    settings: Settings, *, host: str | None = None, port: int | None = None
) -> tuple[Listener, ...]:
    """Return every listener the settings ask for; ``host`` and ``port`` move the first one."""
    first = True
    found = []
    for given in settings.listeners:
        address = parse_address(given.address)
        if first:
            address = (host or address[0], address[1] if port is None else port)
        first = False
        tls = given.tls
        found.append(
            Listener(
                "gateway",
                *address,
                cert_path=tls.cert_path if tls else None,
                key_path=tls.key_path if tls else None,
                http2=given.offer_h2 if tls else given.offer_h2c,
                is_tls=tls is not None,
                fallback_sni=tls.fallback_sni if tls else None,
            )
        )
    if settings.status is not None:
        found.append(Listener("status", *parse_address(settings.status.address)))
    if settings.prometheus is not None:
        found.append(Listener("metrics", *parse_address(settings.prometheus.address)))
    if settings.admin is not None:
        found.append(Listener("admin", *parse_address(settings.admin.address)))
    return tuple(found)
