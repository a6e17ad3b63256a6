"""Compile plugins into a Plan: flat tuples of bound methods, in the order they run.

Merging and ordering happen here, once per configuration, never on the request path. Inside a layer
plugins run by priority, highest first, ties by name; the global layer runs before the route's in
every phase, response phases included.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Final, Literal, Protocol, TypeAlias

from ..context import CONTEXT_KEY, Context
from ..errors import PluginError, RequestError
from ..http.response import Response
from ..types import ASGIApp, Receive, Scope, Send
from .base import REQUEST_PHASES, Phase, Plugin, Reply

RequestHook: TypeAlias = Callable[[Context], Reply | Awaitable[Reply]]
HeadHook: TypeAlias = Callable[[Context], None]
BodyHook: TypeAlias = Callable[[Context, bytes, bool], bytes]
LogHook: TypeAlias = Callable[[Context], None]


class Decorate(Protocol):
    """Wraps the hooks of a plugin."""

    needs_body: bool
    """What decides whether they run reads the request body."""

    def __call__(self, phase: Phase | Literal["wrap"], hook: Callable[..., Any]) -> Any:
        """Return the hook to run in ``phase`` instead of ``hook``."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One plugin in one place: the instance, its order, and what ``_meta`` makes of its hooks."""

    plugin: Plugin
    priority: int
    decorate: Decorate | None = None
    """Wraps a hook for ``_meta`` filter, error_response and fail; None leaves hooks as they are."""

    def hook(self, phase: Phase) -> Callable[..., Any] | None:
        """Return the hook for ``phase``, or None when the plugin has or needs none."""
        if not self._has(phase):
            return read_body if phase == "access" and self._reads_body_late() else None
        method: Callable[..., Any] = getattr(self.plugin, phase)
        if self.plugin.needs_body and phase in REQUEST_PHASES:
            method = _after_body(method)
        return self.decorate(phase, method) if self.decorate else method

    def _reads_body_late(self) -> bool:
        """Tell whether hooks read the request body, none of which can wait for it."""
        is_reader = self.plugin.needs_body or (self.decorate and self.decorate.needs_body)
        return bool(is_reader) and not any(map(self._has, REQUEST_PHASES))

    def _has(self, phase: Phase) -> bool:
        if phase in self.plugin.skips:
            return False
        return getattr(type(self.plugin), phase) is not getattr(Plugin, phase)


Layer: TypeAlias = Mapping[str, Step]
"""The plugins of one layer by name, already merged."""


async def read_body(ctx: Context) -> None:
    """Read the request body for response hooks, which cannot wait for it themselves."""
    await ctx.preload_body()


def prepare(ctx: Context) -> Reply | Awaitable[Reply]:
    """Let the target get ready, say pick a node: the step between access and before_proxy."""
    return ctx.target.prepare(ctx)


NO_HOOKS: Final[tuple[RequestHook, ...]] = (prepare,)
"""The request hooks of a plan without plugins that have any."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The hooks of a request, in the order they run."""

    steps: tuple[Step, ...] = ()
    """Every plugin of the plan in running order, the global layer first; for printing."""
    request: tuple[RequestHook, ...] = NO_HOOKS
    """All request hooks in a row, and what happens between the phases, which has their form."""
    rest: tuple[RequestHook, ...] = NO_HOOKS
    """The hooks from where the consumer is known: the rewrite hooks of plugins that only it
    brought, then access, ``prepare`` and before_proxy."""
    header_filter: tuple[HeadHook, ...] = ()
    """header_filter of all plugins, then delayed_header_filter of all plugins."""
    body_filters: tuple[BodyHook, ...] = ()
    """body_filter of all plugins, then delayed_body_filter of all plugins."""
    log: tuple[LogHook, ...] = ()
    middleware: ASGIApp | None = None
    """ASGI middleware plugins composed around the target, highest priority outermost."""
    outer: Plan | None = None
    """The plan of the global layer alone, in force until the route's rewrite phase; None: self."""
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
        plan = replace(plan, rest=_hooks(extra, "rewrite") + plan.rest)
    return plan


def guarded(plan: Plan, guard: RequestHook) -> Plan:
    """Return the plan with one more hook before those of the route."""
    at = plan.request.index(_enter_route) + 1 if _enter_route in plan.request else 0
    return replace(plan, request=(*plan.request[:at], guard, *plan.request[at:]))


def run(hooks: Iterable[RequestHook], ctx: Context) -> Reply | Awaitable[Reply]:
    """Run request hooks in order until one answers; like a hook, it may give something to await.

    As long as hooks are plain functions, no coroutine is made. Raises PluginError for a hook that
    raised.
    """
    rest = iter(hooks)
    hook: RequestHook | None = None
    try:
        for hook in rest:
            reply = hook(ctx)
            if reply is not None:
                return reply if isinstance(reply, Response) else _run_on(reply, hook, rest, ctx)
    except RequestError:
        raise
    except Exception as error:
        raise PluginError(plugin_name(hook), _phase(hook)) from error
    return None


async def _run_on(
    reply: Awaitable[Reply], hook: RequestHook, rest: Iterator[RequestHook], ctx: Context
) -> Reply:
    """Await what a hook gave, then run the hooks after it."""
    try:
        answer = await reply
    except RequestError:
        raise
    except Exception as error:
        raise PluginError(plugin_name(hook), _phase(hook)) from error
    if answer is not None:
        return answer
    further = run(rest, ctx)
    return further if further is None or isinstance(further, Response) else await further


def _enter_route(ctx: Context) -> None:
    """Put the route's plugins in force: until now an answer was seen by the global ones only."""
    ctx.plan = ctx.match.plan


def _as_consumer(ctx: Context) -> Reply | Awaitable[Reply]:
    """Go on by the plan of whoever was authenticated: the last hook where somebody may be."""
    if ctx.consumer is not None:
        ctx.plan = ctx.match.plan_for(ctx.consumer)
    return run(ctx.plan.rest, ctx)


def _after_body(hook: RequestHook) -> RequestHook:
    """Wrap a request hook whose variables read the request body."""

    @wraps(hook)
    async def hook_after_body(ctx: Context) -> Reply:
        await ctx.preload_body()
        reply = hook(ctx)
        return reply if reply is None or isinstance(reply, Response) else await reply

    return hook_after_body


def plugin_name(hook: object) -> str:
    """Return the name of the plugin a hook belongs to."""
    method = getattr(hook, "__wrapped__", hook)
    return getattr(getattr(method, "__self__", None), "name", repr(hook))


def _phase(hook: object) -> str:
    return getattr(hook, "__name__", "")


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


def _logs_of_responses(steps: tuple[Step, ...]) -> tuple[LogHook, ...]:
    return _hooks(tuple(step for step in steps if step.plugin.reads_response), "log")


def _assemble(
    outer_steps: tuple[Step, ...], inner_steps: tuple[Step, ...], outer: Plan | None = None
) -> Plan:
    steps = outer_steps + inner_steps
    request = _hooks(outer_steps, "rewrite")
    if not request:
        outer = None
    elif outer is not None:
        request += (_enter_route,)
    request += _hooks(inner_steps, "rewrite")
    rest = (*_hooks(steps, "access"), prepare, *_hooks(steps, "before_proxy"))
    authenticates = any(step.plugin.kind == "auth" for step in steps)
    header_filter = _hooks(steps, "header_filter") + _hooks(steps, "delayed_header_filter")
    body_filters = _hooks(steps, "body_filter") + _hooks(steps, "delayed_body_filter")
    log = _hooks(steps, "log")
    request = (*request, _as_consumer) if authenticates else request + rest
    return Plan(
        steps=steps,
        request=NO_HOOKS if request == NO_HOOKS else request,
        rest=rest,
        header_filter=header_filter,
        body_filters=body_filters,
        log=log,
        middleware=_middleware(steps),
        outer=outer,
        observes_response=bool(header_filter or body_filters or _logs_of_responses(steps)),
    )
