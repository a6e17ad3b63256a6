"""Refuse requests whose URI matches a pattern."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..context import Context
from ..errors import SchemaError
from ..expr.regex import compile_rule
from ..http.response import error_page, json_reply
from ..model.fields import Unique
from ..plugin.base import Plugin, PluginConf, Reply


class UriBlocker(Plugin):
    """Search the request URI, query included, for any of the patterns.

    The path is the decoded, canonical one that routes match.
    Source: apisix/plugins/uri-blocker.lua.
    """

    name = "uri-blocker"
    priority = 2900

    class Conf(PluginConf):
        block_rules: Annotated[
            Unique[Annotated[str, Field(min_length=1, max_length=4096)]], Field(min_length=1)
        ]
        """Patterns of URIs to refuse."""
        rejected_code: Annotated[int, Field(ge=200)] = 403
        """Status of a refusal."""
        rejected_msg: Annotated[str, Field(min_length=1)] | None = None
        """Text of a refusal, in ``{"error_msg": …}``; unset: the error page."""
        case_insensitive: bool = False
        """Ignore case."""

    def __init__(self, conf: Conf) -> None:
        for index, rule in enumerate(conf.block_rules):
            try:
                compile_rule(rule)
            except ValueError as error:
                raise SchemaError(str(error), path=f"block_rules.{index}") from None
        rules = "|".join(f"(?:{rule})" for rule in conf.block_rules)
        self._blocked = compile_rule(rules, ignore_case=conf.case_insensitive)
        self._reply = (
            json_reply(conf.rejected_code, {"error_msg": conf.rejected_msg})
            if conf.rejected_msg
            else error_page(conf.rejected_code)
        )

    def rewrite(self, ctx: Context) -> Reply:
        uri = ctx.request.path
        if ctx.request.query:
            uri = f"{uri}?{ctx.request.query.decode('latin-1')}"
        return self._reply if self._blocked.search(uri) else None
