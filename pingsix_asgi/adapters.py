"""Plugins as ASGI middleware, and ASGI middleware as plugins.

A plugin alone is the gateway's engine with a plan of one plugin and the wrapped app as target.
Several such layers behave as an onion: for APISIX's phases and order give the plugins to one
PingSIX instead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

from .clock import Clock, SystemClock
from .context import Consumer, Context, Request, RouteInfo, Target
from .engine import serve
from .errors import DownstreamError, ReferenceMissing, SchemaError
from .http.response import error_page
from .http.scope import read_host, read_path
from .model.base import parse
from .plugin.base import Plugin, PluginConf
from .plugin.consumer import Consumers, Identified
from .plugin.plan import Plan, Step, compile_plan
from .plugin.registry import Registry
from .proxy.local import LocalTarget
from .types import JSON, ASGIApp, Receive, Scope, Send

P = ParamSpec("P")
T = TypeVar("T")


def as_middleware(
    plugin: type[Plugin], *, clock: Clock | None = None, metadata: JSON = None
) -> Callable[..., ASGIApp]:
    """Return a middleware factory for one plugin: ``factory(app, **options)``.

    The options are those of the plugin's conf. For typed code this is the way to write
    ``app.add_middleware(as_middleware(LimitCount), count=100, time_window=60)``; the class itself
    may stand there too. ``metadata`` is the plugin's plugin_metadata. The factory raises
    SchemaError for bad options, and for a plugin that has nothing to do without a gateway.
    """

    def factory(app: ASGIApp, **options: Any) -> PluginMiddleware:
        if plugin.needs_gateway:
            text = (
                f"cannot be used alone, {plugin.needs_gateway}: give it to PingSIX(app, config=…)"
            )
            raise SchemaError(text, kind="plugins", id=plugin.name)
        confs = {plugin: options}
        return PluginMiddleware(app, confs, clock=clock, metadata={plugin.name: metadata})

    return factory


def from_middleware(
    name: str,
    factory: Callable[Concatenate[ASGIApp, P], ASGIApp],
    priority: int = 0,
    *args: P.args,
    **kwargs: P.kwargs,
) -> type[Plugin]:
    """Make a plugin class of an ASGI middleware class (or factory) and its arguments.

    The middleware stands between before_proxy and the target, the highest priority outermost, so
    its early answers pass every response phase. To stand outside the gateway, wrap PingSIX itself.
    """

    class Wrapping(Plugin):
        """An ASGI middleware in the place of a plugin."""

        def wrap(self, app: ASGIApp) -> ASGIApp:
            return factory(app, *args, **kwargs)

    Wrapping.name = name
    Wrapping.priority = priority
    return Wrapping


class PluginMiddleware:
    """An ASGI app behind the plugins of one small plan; no routes, no upstreams.

    ``confs`` gives each plugin class its options. Lifespan passes through; what plugins kept is
    closed when the app's lifespan ends.
    """

    def __init__(
        self,
        app: ASGIApp,
        confs: Mapping[type[Plugin], Mapping[str, Any]],
        *,
        clock: Clock | None = None,
        metadata: Mapping[str, JSON] | None = None,
        consumers: Consumers | None = None,
    ) -> None:
        self._app = app
        self._clock = clock or SystemClock()
        self._kept: dict[Hashable, Any] = {}
        registry = Registry(confs)
        layer = {}
        for plugin, options in confs.items():
            host = LoneHost(plugin, self._clock, self._kept, consumers)
            host.load_metadata((metadata or {}).get(plugin.name))
            instance = plugin(parse(plugin.Conf, dict(options), kind="plugins", id=plugin.name))
            instance.compose(registry)
            instance.setup(host)
            layer[plugin.name] = Step(instance, plugin.priority)
        self._match = LoneMatch(compile_plan({}, layer), LocalTarget(app))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        try:
            path, target = read_path(scope)
            request = Request(scope, path, target, read_host(scope["headers"]))
        except DownstreamError as error:
            ctx = Context(scope, receive, send, Request(scope, "/", b"/", ""))
            ctx.plan = Plan()
            await ctx.reply(error_page(error.status))
            return
        ctx = Context(scope, receive, send, request)
        ctx.started = self._clock.monotonic()
        await serve(ctx, self._match)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            for kept in self._kept.values():
                if hasattr(kept, "aclose"):
                    await kept.aclose()


class LoneMatch:
    """The only route there is."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self.plan = plan
        self.target = target
        self.info: RouteInfo = LoneRoute()

    def plan_for(self, consumer: Consumer) -> Plan:
        return self.plan


class LoneRoute:
    """No route, by any name."""

    route_id = route_name = service_id = service_name = uri = ""
    hosts: tuple[str, ...] = ()


class LoneHost:
    """What a plugin that runs without a gateway may ask for."""

    owner = ""

    def __init__(
        self,
        plugin: type[Plugin],
        clock: Clock,
        kept: dict[Hashable, Any],
        consumers: Consumers | None = None,
    ) -> None:
        self.clock = clock
        self._plugin = plugin
        self._kept = kept
        self._consumers: Consumers = consumers or NoConsumers()
        self._metadata: PluginConf | None = None

    def load_metadata(self, document: JSON) -> None:
        """Validate plugin_metadata. Raises SchemaError."""
        if document is not None and self._plugin.Metadata is not None:
            kind, name = "plugin_metadata", self._plugin.name
            self._metadata = parse(self._plugin.Metadata, document, kind=kind, id=name)

    def metadata(self) -> PluginConf | None:
        return self._metadata

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def is_present(self, owner: str) -> bool:
        return True

    def target(self, upstream: JSON) -> Target:
        raise ReferenceMissing("a plugin used without PingSIX has no upstreams")

    def consumers(self, plugin: str) -> Consumers:
        return self._consumers


class NoConsumers:
    """An index without consumers."""

    def find(self, value: str) -> Identified | None:
        return None

    def by_name(self, username: str) -> Consumer | None:
        return None
