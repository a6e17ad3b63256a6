"""Do one thing or another, depending on the request."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from ..context import Context
from ..errors import SchemaError
from ..expr.expression import compile_expression
from ..expr.variables import needs_body
from ..http.response import json_reply
from ..model.base import Model, parse
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..plugin.registry import Registry

_PLUGIN_ACTIONS = ("limit-count", "limit-conn")


class Rule(Model):
    """A case and what to do in it; without ``case`` it always applies."""

    case: Annotated[list[Any], Field(min_length=1)] | None = None
    actions: Annotated[list[Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]


class Return(Model):
    """Options of the ``return`` action."""

    code: Annotated[int, Field(ge=100, le=599)]


class Workflow(Plugin):
    """Run the first action of the first rule whose case holds.

    Actions: ``["return", {"code": …}]``, ``["limit-count", {…}]``, ``["limit-conn", {…}]``.
    Source: apisix/plugins/workflow.lua.
    """

    name = "workflow"
    priority = 1006

    class Conf(PluginConf):
        rules: list[Rule]

    def __init__(self, conf: Conf) -> None:
        self._rules = [_Compiled(rule, index) for index, rule in enumerate(conf.rules)]
        self.needs_body = any(rule.needs_body for rule in self._rules)

    def setup(self, host: Host) -> None:
        for rule in self._rules:
            if rule.plugin is not None:
                rule.plugin.setup(host)

    async def access(self, ctx: Context) -> Reply:
        for rule in self._rules:
            if rule.applies is None or rule.applies(ctx):
                ctx.note(self, rule)
                if rule.plugin is None:
                    return rule.reply
                reply = rule.plugin.access(ctx)
                return await reply if inspect.isawaitable(reply) else reply
        return None

    def header_filter(self, ctx: Context) -> None:
        rule: _Compiled | None = ctx.noted(self)
        if rule is not None and rule.overrides("header_filter"):
            rule.plugin.header_filter(ctx)  # type: ignore[union-attr]  # overrides() checked it

    def log(self, ctx: Context) -> None:
        rule: _Compiled | None = ctx.noted(self)
        if rule is not None and rule.overrides("log"):
            rule.plugin.log(ctx)  # type: ignore[union-attr]  # overrides() checked it


class _Compiled:
    def __init__(self, rule: Rule, index: int) -> None:
        self.applies: Callable[[Context], bool] | None = None
        if rule.case is not None:
            try:
                self.applies = compile_expression(rule.case)
            except ValueError as error:
                raise SchemaError(str(error), path=f"rules.{index}.case") from None
        name, options = (*rule.actions[0], {})[:2]
        where = f"rules.{index}.actions.0"
        self.plugin: Plugin | None = None
        self.needs_body = needs_body(rule.case)
        self.reply: Reply = None
        if name == "return":
            code = parse(Return, options, at=where).code
            self.reply = json_reply(code, {"error_msg": "rejected by workflow"})
        elif name in _PLUGIN_ACTIONS:
            kind = Registry().find(name)
            if "group" in options:
                raise SchemaError("group is not supported", path=f"{where}.group")
            self.plugin = kind(parse(kind.Conf, options, at=where))
            self.needs_body |= self.plugin.needs_body
        else:
            raise SchemaError(f"unsupported action: {name}", path=where)

    def overrides(self, hook: str) -> bool:
        plugin = type(self.plugin)
        return self.plugin is not None and getattr(plugin, hook) is not getattr(Plugin, hook)
