"""What the router finds: a route compiled into plan and target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..context import Consumer, Context, RouteInfo, Target
from ..http.response import Response, error_page
from ..plugin.layer import enabled
from ..plugin.plan import Layer, Plan, compile_plan
from ..types import Receive, Send
from .consumers import Attached, ConsumerLayer


@dataclass(slots=True, eq=False)
class Info:
    """Names of what was matched; "" where there is none."""

    route_id: str = ""
    route_name: str = ""
    service_id: str = ""
    service_name: str = ""
    uri: str = ""
    hosts: tuple[str, ...] = ()


NO_ROUTE = Info()


class Refusal:
    """A target that refuses: what the route needs is not there."""

    __slots__ = ("_reply",)

    def __init__(self, reply: Response) -> None:
        self._reply = reply

    def prepare(self, ctx: Context) -> Response:
        return self._reply

    async def __call__(self, ctx: Context, receive: Receive, send: Send) -> None:
        await ctx.reply(self._reply)


class PlanCache:
    """Plans of (route, consumer layer), made on first use; the oldest goes when it is full.

    It is emptied when a snapshot is published, so plans live no longer than what they are made of.
    """

    MAX_PLANS = 4096

    def __init__(self) -> None:
        self._plans: dict[tuple[RouteMatch, ConsumerLayer], Plan] = {}

    def get(self, match: RouteMatch, layer: ConsumerLayer) -> Plan:
        """Return the plan of the route with the layer's plugins merged in."""
        key = (match, layer)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= self.MAX_PLANS:
                del self._plans[next(iter(self._plans))]
            plan = self._plans[key] = match.merged_with(layer)
        return plan

    def clear(self) -> None:
        """Forget all plans."""
        self._plans.clear()

    def __len__(self) -> int:
        return len(self._plans)


Layers: TypeAlias = tuple[Layer, Layer]
"""The global layer and the route's, for merging a consumer's in."""


class RouteMatch:
    """One route as requests see it. Never changed once made."""

    __slots__ = ("_cache", "_layers", "info", "plan", "target")

    def __init__(
        self, plan: Plan, target: Target, info: RouteInfo, layers: Layers, cache: PlanCache
    ) -> None:
        self.plan = plan
        self.target = target
        self.info = info
        self._layers = layers
        self._cache = cache

    def under(self, info: RouteInfo) -> RouteMatch:
        """Return the same under another name."""
        return RouteMatch(self.plan, self.target, info, self._layers, self._cache)

    def plan_for(self, consumer: Consumer) -> Plan:
        """Return the plan with the consumer's and its group's plugins merged in."""
        if not isinstance(consumer, Attached) or consumer.layer.is_empty:
            return self.plan
        return self._cache.get(self, consumer.layer)

    def merged_with(self, layer: ConsumerLayer) -> Plan:
        """Compile the plan with a consumer's layer. Source: apisix/plugin.lua (merge_consumer)."""
        if layer.lacks_group:
            return Plan(rest=(_no_group,))
        global_layer, route_layer = self._layers
        hidden = [name for name, step in layer.steps.items() if step is None]
        if hidden:
            route_layer = {k: step for k, step in route_layer.items() if k not in hidden}
        return compile_plan(global_layer, route_layer, consumer_layer=enabled(layer.steps))


def _no_group(ctx: Context) -> Response:
    """Answer for a consumer whose group does not exist, as APISIX does."""
    return error_page(503)


def refuse_websocket(ctx: Context) -> Response | None:
    """Refuse handshakes on a route with ``enable_websocket: false``."""
    return error_page(403) if ctx.is_websocket else None
