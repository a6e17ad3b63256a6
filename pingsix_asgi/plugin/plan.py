"""Compile plugins into a Plan: one flat tuple of bound methods per phase.

Merging and ordering happen here, once per configuration, never on the request path. Inside a layer
plugins run by priority, highest first, ties by name; the global layer runs before the route's in
every phase, response phases included.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from ..context import CONTEXT_KEY, Context
from ..errors import PluginError, RequestError
from ..http.response import Response
from ..types import ASGIApp, Receive, Scope, Send
from .base import REQUEST_PHASES, Phase, Plugin, Reply

RequestHook: TypeAlias = Callable[[Context], Reply | Awaitable[Reply]]
HeadHook: TypeAlias = Callable[[Context], None]
BodyHook: TypeAlias = Callable[[Context, bytes, bool], bytes]
LogHook: TypeAlias = Callable[[Context], None]
Decorate: TypeAlias = Callable[[Phase | Literal["wrap"], Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One plugin in one place: the instance, its order, and what ``_meta`` makes of its hooks."""

    plugin: Plugin
    priority: int
    decorate: Decorate | None = None
    """Wraps a hook for ``_meta`` filter, error_response and fail; None leaves hooks as they are."""

    def hook(self, phase: Phase) -> Callable[..., Any] | None:
        """Return the hook for ``phase``, or None when the plugin has or needs none."""
        if phase in self.plugin.skips:
            return None
        if getattr(type(self.plugin), phase) is getattr(Plugin, phase):
            return None
        method: Callable[..., Any] = getattr(self.plugin, phase)
        if self.plugin.needs_body and phase in REQUEST_PHASES:
            method = _after_body(method)
        return self.decorate(phase, method) if self.decorate else method


Layer: TypeAlias = Mapping[str, Step]
"""The plugins of one layer by name, already merged."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The hooks of a request, phase by phase."""

    steps: tuple[Step, ...] = ()
    """Every plugin of the plan in running order, the global layer first; for printing."""
    global_rewrite: tuple[RequestHook, ...] = ()
    rewrite: tuple[RequestHook, ...] = ()
    consumer_rewrite: tuple[RequestHook, ...] = ()
    """Rewrite hooks of plugins that only the consumer brought, auth excluded."""
    access: tuple[RequestHook, ...] = ()
    before_proxy: tuple[RequestHook, ...] = ()
    header_filter: tuple[HeadHook, ...] = ()
    """header_filter of all plugins, then delayed_header_filter of all plugins."""
    body_filters: tuple[BodyHook, ...] = ()
    """body_filter of all plugins, then delayed_body_filter of all plugins."""
    log: tuple[LogHook, ...] = ()
    middleware: ASGIApp | None = None
    """ASGI middleware plugins composed around the target, highest priority outermost."""
    outer: Plan | None = None
    """The plan of the global layer alone, in force until the route's rewrite phase; None: self."""
    touches_request: bool = field(default=False)
    observes_response: bool = field(default=False)


def compile_plan(
    global_layer: Layer,
    route_layer: Layer | None = None,
    *,
    consumer_layer: Layer | None = None,
    outer: Plan | None = None,
) -> Plan:
    """Build the plan for a route, or for "no route" when ``route_layer`` is None.

    ``outer`` is the plan of the global layer alone, if it was made already.

    ``consumer_layer`` holds the plugins of consumer and group; they replace the route's of the
    same name, and those the route did not have get their rewrite hook in an extra pass.
    """
    if route_layer is None:
        return _assemble(_ordered(global_layer), ())
    inner = {**route_layer, **(consumer_layer or {})}
    outer_steps = _ordered(
        {
            name: step
            for name, step in global_layer.items()
            if not (step.plugin.run_policy == "prefer_route" and name in inner)
        }
    )
    plan = _assemble(outer_steps, _ordered(inner), outer=outer or compile_plan(global_layer))
    if consumer_layer:
        extra = _ordered(
            {
                name: step
                for name, step in consumer_layer.items()
                if name not in route_layer and step.plugin.kind != "auth"
            }
        )
        plan = replace(plan, consumer_rewrite=_hooks(extra, "rewrite"))
    return plan


async def run(hooks: Iterable[RequestHook], phase: Phase, ctx: Context) -> Response | None:
    """Run request hooks in order until one answers. Raises PluginError for a hook that raised."""
    hook: RequestHook | None = None
    try:
        for hook in hooks:
            reply = hook(ctx)
            if reply is None:
                continue
            if not isinstance(reply, Response):
                reply = await reply
            if reply is not None:
                return reply
    except RequestError:
        raise
    except Exception as error:
        raise PluginError(plugin_name(hook), phase) from error
    return None


def _after_body(hook: RequestHook) -> RequestHook:
    """Wrap a request hook whose variables read the request body."""

    async def hook_after_body(ctx: Context) -> Reply:
        await ctx.preload_body()
        reply = hook(ctx)
        return reply if reply is None or isinstance(reply, Response) else await reply

    hook_after_body.__wrapped__ = hook  # type: ignore[attr-defined]  # plugin_name looks there
    return hook_after_body


def plugin_name(hook: object) -> str:
    """Return the name of the plugin a hook belongs to."""
    method = getattr(hook, "__wrapped__", hook)
    return getattr(getattr(method, "__self__", None), "name", repr(hook))


async def _innermost(scope: Scope, receive: Receive, send: Send) -> None:
    """The app that ASGI middleware plugins wrap: whatever target the request has by now."""
    ctx: Context = scope[CONTEXT_KEY]
    ctx.adopt(scope)
    await ctx.target(ctx, receive, send)


def _middleware(steps: tuple[Step, ...]) -> ASGIApp | None:
    wraps: list[Callable[[ASGIApp], ASGIApp]] = [
        step.decorate("wrap", step.plugin.wrap) if step.decorate else step.plugin.wrap
        for step in steps
        if type(step.plugin).wrap is not Plugin.wrap
    ]
    if not wraps:
        return None
    app: ASGIApp = _innermost
    for wrap in reversed(wraps):
        app = wrap(app)
    return app


def _ordered(layer: Layer) -> tuple[Step, ...]:
    return tuple(
        step for _, step in sorted(layer.items(), key=lambda item: (-item[1].priority, item[0]))
    )


def _hooks(steps: tuple[Step, ...], phase: Phase) -> tuple[Any, ...]:
    return tuple(hook for step in steps if (hook := step.hook(phase)) is not None)


def _assemble(
    outer_steps: tuple[Step, ...], inner_steps: tuple[Step, ...], outer: Plan | None = None
) -> Plan:
    steps = outer_steps + inner_steps
    hooks: dict[Phase, tuple[Any, ...]] = {
        phase: _hooks(steps, phase) for phase in ("access", "before_proxy", "log")
    }
    global_rewrite, rewrite = _hooks(outer_steps, "rewrite"), _hooks(inner_steps, "rewrite")
    header_filter = _hooks(steps, "header_filter") + _hooks(steps, "delayed_header_filter")
    body_filters = _hooks(steps, "body_filter") + _hooks(steps, "delayed_body_filter")
    return Plan(
        steps=steps,
        global_rewrite=global_rewrite,
        rewrite=rewrite,
        access=hooks["access"],
        before_proxy=hooks["before_proxy"],
        header_filter=header_filter,
        body_filters=body_filters,
        log=hooks["log"],
        middleware=_middleware(steps),
        outer=outer,
        touches_request=any(_hooks(steps, phase) for phase in REQUEST_PHASES),
        observes_response=bool(header_filter or body_filters or hooks["log"]),
    )
