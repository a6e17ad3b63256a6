"""Do one thing or another, depending on the request."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from functools import partial
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, Field

from ..context import Context, Target
from ..errors import SchemaError, SchemaErrors, each
from ..expr.expression import compile_expression
from ..expr.variables import needs_body
from ..http.response import json_reply
from ..model.base import json_type, parse
from ..plugin.base import Host, Plugin, PluginConf, PluginFinder, Reply
from ..plugin.consumer import Consumers
from ..plugin.nested import make_nested, skip_plugin
from ..types import JSON

T = TypeVar("T")

_PLUGIN_ACTIONS = ("limit-count", "limit-conn")


def _named_with_options(action: list[Any]) -> list[Any]:
    for number, (value, kind, name) in enumerate(
        zip(action, (str, dict), ("string", "object"), strict=False), 1
    ):
        if not isinstance(value, kind):
            wrong = f"wrong type: expected {name}, got {json_type(value)}"
            raise ValueError(f"failed to validate item {number}: {wrong}")
    return action


Action: TypeAlias = Annotated[list[Any], Field(min_length=2), AfterValidator(_named_with_options)]
"""The name of an action and its options."""


class Rule(PluginConf):
    """A case and what to do in it; without ``case`` it always applies."""

    case: Annotated[list[Any], Field(min_length=1)] | None = None
    """Expression that must hold; unset: always."""
    actions: Annotated[list[Action], Field(min_length=1)]
    """``[name, options]``, of which the first is run."""


class Return(PluginConf):
    """Options of the ``return`` action."""

    code: Annotated[int, Field(ge=100, le=599)]


class Workflow(Plugin):
    """Run the first action of the first rule whose case holds.

    Actions: ``["return", {"code": …}]``, ``["limit-count", {…}]``, ``["limit-conn", {…}]``.
    Each rule counts for itself; what acted here does not act again in the same request.
    Source: apisix/plugins/workflow.lua.
    """

    name = "workflow"
    priority = 1006
    nested = ("rules.actions",)

    class Conf(PluginConf):
        rules: list[Rule]
        """Tried in order; the first that applies acts."""

    def __init__(self, conf: Conf) -> None:
        self._confs = conf.rules
        self._rules = each(partial(_Compiled, rule, n) for n, rule in enumerate(conf.rules))
        self.needs_body = any(needs_body(rule.case) for rule in conf.rules)

    def compose(self, plugins: PluginFinder) -> None:
        actions = each(
            partial(_actions, plugins, rule, f"rules.{index}.actions")
            for index, rule in enumerate(self._confs)
        )
        for rule, made in zip(self._rules, actions, strict=True):
            if isinstance(made[0], Plugin):
                rule.plugin = made[0]
                self.needs_body |= rule.plugin.needs_body
            else:
                rule.reply = made[0]

    def setup(self, host: Host) -> None:
        for index, rule in enumerate(self._rules, 1):
            if rule.plugin is not None:
                rule.plugin.setup(_RuleHost(host, index))

    async def access(self, ctx: Context) -> Reply:
        for rule in self._rules:
            if rule.applies is None or rule.applies(ctx):
                ctx.note(self, rule)
                if rule.plugin is None:
                    return rule.reply
                reply = rule.plugin.access(ctx)
                skip_plugin(ctx, rule.plugin.name)
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
    """One rule: when it applies; the plugin that acts, or what to answer."""

    def __init__(self, rule: Rule, index: int) -> None:
        self.plugin: Plugin | None = None
        self.reply: Reply = None
        self.applies: Callable[[Context], bool] | None = None
        if rule.case is not None:
            try:
                self.applies = compile_expression(rule.case)
            except ValueError as error:
                text = f"failed to validate the 'case' expression: {error}"
                raise SchemaError(text, path=f"rules.{index}.case") from None

    def overrides(self, hook: str) -> bool:
        plugin = type(self.plugin)
        return self.plugin is not None and getattr(plugin, hook) is not getattr(Plugin, hook)


class _RuleHost:
    """The host, for the plugin of one rule: what it counts is not what equal ones count."""

    def __init__(self, host: Host, number: int) -> None:
        self._host = host
        self.owner = f"{host.owner}/workflow/{number}"
        self.clock = host.clock

    def metadata(self) -> PluginConf | None:
        """Return none: the host knows only that of the workflow itself."""
        return None

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        return self._host.keep(key, make)

    def is_present(self, owner: str) -> bool:
        return self._host.is_present(owner)

    def target(self, upstream: JSON) -> Target:
        return self._host.target(upstream)

    def consumers(self, plugin: str) -> Consumers:
        return self._host.consumers(plugin)


def _actions(plugins: PluginFinder, rule: Rule, at: str) -> list[Plugin | Reply]:
    return each(
        partial(_made, plugins, name, options, f"{at}.{number}")
        for number, (name, options, *_) in enumerate(rule.actions)
    )


def _made(plugins: PluginFinder, name: str, options: JSON, at: str) -> Plugin | Reply:
    """Make what an action runs or answers. Raises SchemaError in APISIX's words."""
    if name != "return" and name not in _PLUGIN_ACTIONS:
        raise SchemaError(f"unsupported action: {name}", path=at)
    try:
        if name == "return":
            code = parse(Return, options, at=at).code
            return json_reply(code, {"error_msg": "rejected by workflow"})
        if isinstance(options, dict) and "group" in options:
            raise SchemaError("group is not supported", path=f"{at}.group")
        return make_nested(plugins, name, options, at)
    except SchemaError as error:
        lead = f"failed to validate the '{name}' action: "
        raise SchemaErrors(
            [SchemaError(lead + one.message, path=one.path) for one in error.errors]
        ) from None
