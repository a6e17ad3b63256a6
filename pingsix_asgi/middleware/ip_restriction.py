"""Allow or refuse clients by their address."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ..context import Context
from ..errors import SchemaError
from ..http.addresses import AddressSet
from ..http.response import json_reply
from ..plugin.base import Plugin, PluginConf, Reply
from ..plugin.fields import AddressText

Entries: TypeAlias = Annotated[list[AddressText], Field(min_length=1)]


class IPRestriction(Plugin):
    """Answer 403 to clients outside ``whitelist`` or inside ``blacklist``.

    The address is the request's client address, which the server and real-ip may have taken from
    a trusted proxy. Source: apisix/plugins/ip-restriction.lua. ``use_forwarded_headers``,
    ``trusted_proxies`` and ``forwarded_header_error_policy`` are PingSIX's.
    """

    name = "ip-restriction"
    priority = 3000

    class Conf(PluginConf):
        whitelist: Entries | None = None
        """Addresses and networks that may pass. Exactly one of the lists is required."""
        blacklist: Entries | None = None
        """Addresses and networks that may not."""
        message: Annotated[str, Field(min_length=1, max_length=1024)] = (
            "Your IP address is not allowed"
        )
        """Text of a refusal."""
        response_code: Annotated[int, Field(ge=403, le=404)] = 403
        """Status of a refusal."""
        use_forwarded_headers: bool = False
        """Judge the client that a proxy of ``trusted_proxies`` names."""
        trusted_proxies: Annotated[list[AddressText], Field(default_factory=list)]
        """Peers whose X-Forwarded-For and X-Real-IP are believed."""
        forwarded_header_error_policy: Literal["direct", "deny"] = "direct"
        """For a bad X-Forwarded-For: judge the peer, or refuse."""

        @model_validator(mode="after")
        def _exactly_one_list(self) -> Self:
            if self.whitelist is None and self.blacklist is None:
                raise ValueError("value should match only one schema, but matches none")
            if self.whitelist is not None and self.blacklist is not None:
                raise ValueError(
                    "value should match only one schema, but matches both schemas 1 and 2"
                )
            return self

    def __init__(self, conf: Conf) -> None:
        self._wanted = conf.whitelist is not None
        for entry in (*(conf.whitelist or conf.blacklist or ()), *conf.trusted_proxies):
            if not _parses(entry):
                raise SchemaError(f"invalid ip address: {entry}")
        self._listed = AddressSet(conf.whitelist or conf.blacklist or ())
        self._refusal = json_reply(conf.response_code, {"message": conf.message})
        self._proxies = AddressSet(conf.trusted_proxies) if conf.use_forwarded_headers else None
        self._deny_invalid = conf.forwarded_header_error_policy == "deny"

    def access(self, ctx: Context) -> Reply:
        address = ctx.request.client[0]
        if self._proxies is not None and address in self._proxies:
            forwarded = self._forwarded(ctx, self._proxies)
            if forwarded is None:
                return self._refusal
            address = forwarded
        return None if (address in self._listed) is self._wanted else self._refusal

    def _forwarded(self, ctx: Context, proxies: AddressSet) -> str | None:
        """Return the client that a trusted proxy names; None to refuse a header that lies."""
        headers, peer = ctx.request.headers, ctx.request.client[0]
        line = headers.get(b"x-forwarded-for")
        if line is None:
            real = headers.get(b"x-real-ip")
            text = real.decode("latin-1").strip() if real else ""
            return text if _is_address(text) else peer
        hops = [hop.strip() for hop in line.decode("latin-1").split(",")]
        if not all(map(_is_address, hops)):
            return None if self._deny_invalid else peer
        return next((hop for hop in reversed(hops) if hop not in proxies), hops[0])


def _is_address(text: str) -> bool:
    return "/" not in text and bool(text) and _parses(text)


def _parses(text: str) -> bool:
    try:
        AddressSet([text])
    except ValueError:
        return False
    return True
