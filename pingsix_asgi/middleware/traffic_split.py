"""Send a share of the traffic to another upstream: canaries, blue-green, by rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeAlias

from pydantic import Field, ValidatorFunctionWrapHandler, WithJsonSchema, WrapValidator

from ..context import Context, Target
from ..errors import ReferenceMissing, SchemaError, each
from ..expr.expression import compile_expression
from ..expr.variables import needs_body
from ..http.response import Response, text_reply
from ..model.base import Plain
from ..model.fields import ID
from ..model.upstream import Upstream
from ..plugin.base import Host, Plugin, PluginConf, Reply


class Condition(PluginConf):
    """One alternative of a rule's ``match``."""

    vars: list[Any] | None = None
    """Expression that must hold."""


def _judged(document: Any, judge: ValidatorFunctionWrapHandler) -> Any:
    """Refuse a bad upstream where it stands; the host makes it of the document."""
    if isinstance(document, dict) and document.get("warm_up_conf") is not None:
        raise Plain("warm_up_conf is not supported by the upstream of the traffic-split plugin")
    judge(document)
    return document


Inline: TypeAlias = Annotated[Upstream, WrapValidator(_judged), WithJsonSchema({"type": "object"})]
"""The document of an upstream."""


class WeightedUpstream(PluginConf):
    """A share: an upstream by id or inline; with neither, the route's own target."""

    upstream_id: ID | None = None
    """An upstream by its id."""
    upstream: Inline | None = None
    """An inline upstream."""
    weight: Annotated[int, Field(ge=0)] = 1
    """Its share, among the weights of the rule."""


class Rule(PluginConf):
    """Shares of the requests that match."""

    match: list[Condition] | None = None
    """Alternatives, of which one must hold; unset: always."""
    vars: list[Any] | None = None
    """PingSIX's way to write a match with one alternative."""
    weighted_upstreams: Annotated[list[WeightedUpstream], Field(min_length=1, max_length=20)] = (
        Field(default=[WeightedUpstream()])
    )
    """Where requests of the rule go."""

    def alternatives(self) -> list[tuple[str, list[Any]]]:
        """Return the expressions of which one must hold, with their places; none: always."""
        found = [(f"match.{n}", one.vars or []) for n, one in enumerate(self.match or ())]
        return [*found, ("vars", self.vars)] if self.vars else found


class TrafficSplit(Plugin):
    """Choose the target of a request by weight, from the first rule that matches.

    Shares are dealt by smooth weighted round robin, so weights 2:1:2 give exactly that over five
    requests. Source: apisix/plugins/traffic-split.lua. Differs: an inline upstream may use every
    upstream field.
    """

    name = "traffic-split"
    priority = 966
    needs_gateway = "it sends requests to upstreams"
    encrypted = ("rules.weighted_upstreams.upstream.tls.client_key",)

    class Conf(PluginConf):
        rules: list[Rule] | None = None
        """Tried in order; the first that matches decides."""

    def __init__(self, conf: Conf) -> None:
        self._rules = conf.rules or []
        self._predicates = each(partial(_predicate, rule, n) for n, rule in enumerate(self._rules))
        self.needs_body = any(
            needs_body(vars) for rule in self._rules for _, vars in rule.alternatives()
        )

    def setup(self, host: Host) -> None:
        self._splits = [
            (predicate, _Shares([_share(host, item) for item in rule.weighted_upstreams]))
            for predicate, rule in zip(self._predicates, self._rules, strict=True)
        ]

    def access(self, ctx: Context) -> Reply:
        for predicate, shares in self._splits:
            if shares.broken is not None:
                return shares.broken
            if predicate is None or predicate(ctx):
                target = shares.next()
                if target is not None:
                    ctx.target = target
                return None
        return None


@dataclass(slots=True)
class _Share:
    target: Target | None
    """None: the route's own."""
    weight: int
    credit: int = 0
    broken: Response | None = None


class _Shares:
    """Smooth weighted round robin over at most 20 shares."""

    def __init__(self, shares: list[_Share]) -> None:
        self._shares = [share for share in shares if share.weight > 0]
        self._total = sum(share.weight for share in self._shares)
        self.broken = next((share.broken for share in shares if share.broken), None)

    def next(self) -> Target | None:
        if not self._shares:
            return None
        best = self._shares[0]
        for share in self._shares:
            share.credit += share.weight
            if share.credit > best.credit:
                best = share
        best.credit -= self._total
        return best.target


def _share(host: Host, item: WeightedUpstream) -> _Share:
    if item.upstream_id is not None:
        try:
            return _Share(host.target(item.upstream_id), item.weight)
        except ReferenceMissing:
            text = f"failed to fetch upstream info by upstream id: {item.upstream_id}"
            return _Share(None, item.weight, broken=text_reply(500, text))
    if item.upstream is not None:
        return _Share(host.target(item.upstream), item.weight)
    return _Share(None, item.weight)


def _predicate(rule: Rule, index: int) -> Callable[[Context], bool] | None:
    """Return the rule's condition, None when it has none. Raises SchemaError."""
    alternatives = each(
        partial(_expression, document, f"rules.{index}.{path}")
        for path, document in rule.alternatives()
    )
    if not alternatives:
        return None
    return lambda ctx: any(matches(ctx) for matches in alternatives)


def _expression(document: list[Any], path: str) -> Callable[[Context], bool]:
    try:
        return compile_expression(document)
    except ValueError as error:
        text = f"failed to validate the 'vars' expression: {error}"
        raise SchemaError(text, path=path) from None
