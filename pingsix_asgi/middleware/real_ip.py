"""Take the client's address from a header or argument that a trusted proxy set."""

from __future__ import annotations

import ipaddress
import logging
from typing import Annotated, TypeAlias

from pydantic import Field

from ..context import Context
from ..errors import SchemaError
from ..expr.variables import getter, needs_body
from ..http.addresses import parse_address
from ..plugin.base import Plugin, PluginConf, Reply
from ..plugin.fields import AddressText

logger = logging.getLogger("pingsix_asgi.plugins.real_ip")

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class RealIp(Plugin):
    """Replace ``remote_addr`` and ``remote_port`` for everything after this plugin.

    Without ``trusted_addresses`` every peer is believed. For X-Forwarded-For the last element
    counts, or with ``recursive`` the last one that is not a trusted proxy.
    Source: apisix/plugins/real-ip.lua.
    """

    name = "real-ip"
    priority = 23000

    class Conf(PluginConf):
        source: Annotated[str, Field(min_length=1)]
        """Variable with the address, such as ``http_x_forwarded_for`` or ``arg_ip``."""
        trusted_addresses: Annotated[list[AddressText], Field(min_length=1)] | None = None
        """Peers that are believed; unset: all."""
        recursive: bool = False
        """Of X-Forwarded-For, take the last that is not trusted."""

    def __init__(self, conf: Conf) -> None:
        self._source = getter(conf.source)
        self.needs_body = needs_body(conf.source)
        self._is_forwarded_for = conf.source == "http_x_forwarded_for"
        self._trusted = _networks(conf.trusted_addresses) if conf.trusted_addresses else None
        self._recursive = conf.recursive and self._trusted is not None

    def rewrite(self, ctx: Context) -> Reply:
        if self._trusted is not None and not self._is_trusted(ctx.request.client[0]):
            return None
        text = self._forwarded_for(ctx) if self._is_forwarded_for else self._source(ctx)
        if not text:
            return None
        client = parse_address(str(text).strip())
        if client is None:
            logger.warning("bad address %r", text)
            return None
        address, port = client
        ctx.request.client = (address, port if port is not None else ctx.request.client[1])
        return None

    def _forwarded_for(self, ctx: Context) -> str | None:
        lines = ctx.request.headers.getlist(b"x-forwarded-for")
        if not lines:
            return None
        hops = [hop.strip() for hop in lines[-1].decode("latin-1").split(",")]
        if self._recursive:
            while len(hops) > 1 and self._is_trusted(hops[-1]):
                hops.pop()
        return hops[-1]

    def _is_trusted(self, text: str) -> bool:
        parsed = parse_address(text)
        if parsed is None:
            return False
        address = ipaddress.ip_address(parsed[0])
        return any(address in network for network in self._trusted or ())


def _networks(texts: list[str]) -> tuple[Network, ...]:
    networks = []
    for index, text in enumerate(texts):
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            text = f"invalid ip address: {text}"
            raise SchemaError(text, path=f"trusted_addresses.{index}") from None
    return tuple(networks)
