"""Allow or deny requests by the host of their Referer."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from ..context import Context
from ..http.response import json_reply
from ..plugin.base import Plugin, PluginConf, Reply

HOST = r"^\*?[0-9a-zA-Z-._]+$"
Hosts = Annotated[list[Annotated[str, Field(pattern=HOST)]], Field(min_length=1)]


class RefererRestriction(Plugin):
    """Compare the Referer's host with a white list or a black list (``*.x`` is a suffix).

    A Referer that is no URL counts as missing. Source: apisix/plugins/referer-restriction.lua.
    """

    name = "referer-restriction"
    priority = 2990

    class Conf(PluginConf):
        bypass_missing: bool = False
        """Let requests without a usable Referer pass."""
        whitelist: Hosts | None = None
        """Hosts that may refer. Exactly one of the lists is required."""
        blacklist: Hosts | None = None
        """Hosts that may not."""
        message: Annotated[str, Field(min_length=1, max_length=1024)] = (
            "Your referer host is not allowed"
        )
        """Text of a refusal."""

        @model_validator(mode="after")
        def _one_list(self) -> Self:
            if (self.whitelist is None) == (self.blacklist is None):
                found = "none" if self.whitelist is None else "both schemas 1 and 2"
                raise ValueError(f"value should match only one schema, but matches {found}")
            return self

    def __init__(self, conf: Conf) -> None:
        hosts = conf.whitelist or conf.blacklist or []
        self._allow = conf.whitelist is not None
        self._exact = frozenset(host.lower() for host in hosts if host[0] != "*")
        self._suffixes = tuple(host[1:].lower() for host in hosts if host[0] == "*")
        self._bypass_missing = conf.bypass_missing
        self._reply = json_reply(403, {"message": conf.message})

    def access(self, ctx: Context) -> Reply:
        host = _host_of(ctx.request.headers.get(b"referer"))
        if host is None:
            return None if self._bypass_missing else self._reply
        listed = host in self._exact or host.endswith(self._suffixes)
        return None if listed == self._allow else self._reply


def _host_of(referer: bytes | None) -> str | None:
    if referer is None:
        return None
    try:
        return urlsplit(referer.decode("latin-1")).hostname
    except ValueError:
        return None
