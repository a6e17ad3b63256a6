"""Allow or deny clients by their User-Agent."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, model_validator

from ..context import Context
from ..errors import SchemaError
from ..expr.regex import compile_rule
from ..http.response import json_reply
from ..plugin.base import Plugin, PluginConf, Reply

Patterns = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class UaRestriction(Plugin):
    """Match every User-Agent line against an allow list or a deny list of patterns.

    Several lines: one allowed line allows, one denied line denies.
    Source: apisix/plugins/ua-restriction.lua.
    """

    name = "ua-restriction"
    priority = 2999

    class Conf(PluginConf):
        bypass_missing: bool = False
        """Let requests without User-Agent pass."""
        allowlist: Patterns | None = None
        """Patterns of which one must match. Exactly one of the lists is required."""
        denylist: Patterns | None = None
        """Patterns of which none may match."""
        message: Annotated[str, Field(min_length=1, max_length=1024)] = "Not allowed"
        """Text of a refusal."""

        @model_validator(mode="after")
        def _one_list(self) -> Self:
            if (self.allowlist is None) == (self.denylist is None):
                found = "none" if self.allowlist is None else "both schemas 1 and 2"
                raise ValueError(f"value should match only one schema, but matches {found}")
            return self

    def __init__(self, conf: Conf) -> None:
        self._allow = conf.allowlist is not None
        if conf.allowlist is not None:
            self._pattern = _any_of(conf.allowlist, "allowlist")
        else:
            self._pattern = _any_of(conf.denylist or [], "denylist")
        self._bypass_missing = conf.bypass_missing
        self._reply = json_reply(403, {"message": conf.message})

    def access(self, ctx: Context) -> Reply:
        agents = ctx.request.headers.getlist(b"user-agent")
        if not agents:
            return None if self._bypass_missing else self._reply
        matched = any(self._pattern.search(agent.decode("latin-1").strip()) for agent in agents)
        return None if matched == self._allow else self._reply


def _any_of(patterns: list[str], field: str) -> re.Pattern[str]:
    for index, pattern in enumerate(patterns):
        try:
            compile_rule(pattern)
        except ValueError as error:
            raise SchemaError(str(error), path=f"{field}.{index}") from None
    return compile_rule("|".join(f"(?:{pattern})" for pattern in patterns))
