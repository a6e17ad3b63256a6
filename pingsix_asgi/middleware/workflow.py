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
from ..http.response import Response, json_reply
from ..model.base import parse
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..plugin.registry import Registry
from ..types import JSON

_PLUGIN_ACTIONS = ("limit-count", "limit-conn")


class Rule(PluginConf):
    """A case and what to do in it; without ``case`` it always applies."""

    case: Annotated[list[Any], Field(min_length=1)] | None = None
    actions: Annotated[list[Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]


class Return(PluginConf):
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
                text = f"failed to validate the 'case' expression: {error}"
                raise SchemaError(text, path=f"rules.{index}.case") from None
        self.needs_body = needs_body(rule.case)
        self.plugin: Plugin | None = None
        self.reply: Reply = None
        made = [_action(*action, at=f"rules.{index}.actions") for action in _named(rule)]
        if isinstance(made[0], Plugin):
            self.plugin = made[0]
            self.needs_body |= self.plugin.needs_body
        else:
            self.reply = made[0]

    def overrides(self, hook: str) -> bool:
        plugin = type(self.plugin)
        return self.plugin is not None and getattr(plugin, hook) is not getattr(Plugin, hook)


def _named(rule: Rule) -> list[tuple[str, Any]]:
    """Return name and options of every action; only the first is used, all are checked."""
    return [(str(action[0]), action[1] if len(action) > 1 else {}) for action in rule.actions]


def _action(name: str, options: JSON, at: str) -> Plugin | Response:
    """Make what an action runs or answers. Raises SchemaError in APISIX's words."""
    if name != "return" and name not in _PLUGIN_ACTIONS:
        raise SchemaError(f"unsupported action: {name}", path=at)
    try:
        if name == "return":
            code = parse(Return, options, at=at).code
            return json_reply(code, {"error_msg": "rejected by workflow"})
        if isinstance(options, dict) and "group" in options:
            raise SchemaError("group is not supported", path=at)
        kind = Registry().find(name)
        return kind(parse(kind.Conf, options, at=at))
    except SchemaError as error:
        text = f"failed to validate the '{name}' action: {error.message}"
        raise SchemaError(text, path=error.path) from None
