"""Put the parts of routes, services, plugin configs, upstreams and global rules together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from .. import __version__
from ..context import Target
from ..errors import SchemaError
from ..http.addresses import AddressSet
from ..http.response import NOT_FOUND, error_page
from ..model.route import Route
from ..model.service import Service
from ..plugin.layer import enabled, merge
from ..plugin.plan import Layer, Plan, Step, compile_plan, guarded
from ..proxy.forward import Forward, ForwardByBody
from ..proxy.local import LocalTarget
from ..routing.router import RouteEntry
from ..settings import Settings
from ..types import ASGIApp
from ..upstream.node import Timeouts
from ..upstream.upstream import Upstream
from .compile import timeouts
from .match import NO_ROUTE, Info, PlanCache, Refusal, RouteMatch, refuse_websocket
from .parts import NO_PLUGINS, Part, PluginSet
from .tables import Tables

_NO_LAYER: Layer = {}
_NO_SERVICE = Refusal(error_page(404))
_NO_PLUGIN_CONFIG = Refusal(error_page(503))
_NO_SUCH_UPSTREAM = Refusal(error_page(502))
_NOT_CONFIGURED = Refusal(error_page(503))
"""What APISIX answers when a matched route lacks something (apisix/init.lua)."""


class Targets:
    """Makes targets; without a wrapped app, what would go to it is refused."""

    def __init__(self, app: ASGIApp | None, settings: Settings | None = None) -> None:
        self._trusted: Callable[[str], bool] | None = None
        if settings is not None and settings.trusted_addresses:
            self._trusted = AddressSet(settings.trusted_addresses).__contains__
        self._server: bytes | None = None
        if app is None:
            has_version = settings is None or settings.enable_server_tokens
            self._server = f"PingSIX/{__version__}".encode() if has_version else b"PingSIX"
        self._shows_status = (
            settings is not None and settings.show_upstream_status_in_response_header
        )
        self.local = LocalTarget(app) if app is not None else None
        self.unmatched: Target = self.local or Refusal(NOT_FOUND)
        self.unconfigured: Target = self.local or _NOT_CONFIGURED

    def forward(self, upstream: Upstream, timeout: Timeouts | None) -> Target:
        """Return the target that sends requests to an upstream."""
        return (ForwardByBody if upstream.needs_body else Forward)(
            upstream,
            timeout,
            self.local,
            trusted=self._trusted,
            server=self._server,
            show_status=self._shows_status,
        )


class Linker:
    """Links the routes of one build."""

    def __init__(
        self, tables: Tables, global_layer: Layer, targets: Targets, cache: PlanCache
    ) -> None:
        self._tables = tables
        self._global = global_layer
        self._targets = targets
        self._cache = cache
        self._plans: dict[tuple[PluginSet, PluginSet], Plan] = {}
        self._forwards: dict[tuple[Upstream, Timeouts | None], Target] = {}
        self._global_plan = compile_plan(global_layer)

    def unmatched(self) -> RouteMatch:
        """Return the match for requests that no route takes."""
        layers = (self._global, _NO_LAYER)
        return RouteMatch(self._global_plan, self._targets.unmatched, NO_ROUTE, layers, self._cache)

    def affected(self, is_all: bool) -> Iterator[str]:
        """Yield the ids of the routes to link again: all, or those that something changed for."""
        changed, routes = self._tables.changed, self._tables["routes"]
        services = self._changed_services()
        configs, upstreams = changed["plugin_configs"], changed["upstreams"]
        if not is_all and not services and not configs and not upstreams:
            yield from (id for id in changed["routes"] if id in routes)
            return
        for id, part in routes.items():
            route = _route(part)
            if (
                is_all
                or id in changed["routes"]
                or route.service_id in services
                or route.plugin_config_id in configs
                or route.upstream_id in upstreams
            ):
                yield id

    def entry(self, id: str) -> RouteEntry | None:
        """Link one route; None when its status keeps it out of the router."""
        part = self._tables["routes"][id]
        route = _route(part)
        if route.status == 0:
            return None
        service_part = self._tables["services"].get(route.service_id or "")
        service = _service(service_part)
        hosts = route.all_hosts or (service.hosts if service and service.hosts else ())
        info = Info(
            id,
            route.name or "",
            route.service_id or "",
            (service.name if service else None) or "",
            route.paths[0],
            hosts,
        )
        match = self._match(part, service_part, info)
        return RouteEntry(
            id=id,
            paths=route.paths,
            hosts=hosts,
            methods=frozenset(route.methods) if route.methods else None,
            remote_addrs=part.tests.remote_addrs,
            predicate=part.tests.predicate,
            priority=route.priority,
            match=match,
            others=tuple(match.under(replace(info, uri=path)) for path in route.paths[1:]),
            needs_body=part.tests.needs_body,
        )

    def _match(self, part: Part, service_part: Part | None, info: Info) -> RouteMatch:
        route = _route(part)
        config = self._tables["plugin_configs"].get(route.plugin_config_id or "")
        refusal = None
        if route.plugin_config_id is not None and config is None:
            refusal = _NO_PLUGIN_CONFIG
        elif route.service_id is not None and service_part is None:
            refusal = _NO_SERVICE
        if refusal is not None:
            layers = (self._global, _NO_LAYER)
            return RouteMatch(self._global_plan, refusal, info, layers, self._cache)
        sets = (
            part.plugins,
            config.plugins if config else NO_PLUGINS,
            service_part.plugins if service_part else NO_PLUGINS,
        )
        layer = enabled(merge(*(plugins.steps for plugins in sets)))
        plan = self._plan(sets, layer)
        service = _service(service_part)
        websocket = route.enable_websocket
        if websocket is None and service is not None:
            websocket = service.enable_websocket
        if websocket is False:
            plan = guarded(plan, refuse_websocket)
        target = self._target(part, service_part)
        return RouteMatch(plan, target, info, (self._global, layer), self._cache)

    def _plan(self, sets: tuple[PluginSet, PluginSet, PluginSet], layer: Layer) -> Plan:
        """Compile a plan; routes without plugins of their own share those of their service."""
        if sets[0].entries:
            return compile_plan(self._global, layer, outer=self._global_plan)
        key = sets[1:]
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = compile_plan(self._global, layer, outer=self._global_plan)
        return plan

    def _target(self, part: Part, service_part: Part | None) -> Target:
        """Choose the upstream: the route's by id, its inline one, then the service's likewise.

        Source: apisix/init.lua (handle_upstream), apisix/plugin.lua (merge_service_route).
        """
        route, service = _route(part), _service(service_part)
        timeout = timeouts(route.timeout)
        id, inline, upstream = route.upstream_id, route.upstream, part.upstream
        if id is None and inline is None and service_part is not None and service is not None:
            id, inline, upstream = service.upstream_id, service.upstream, service_part.upstream
        if id is None and inline is None:
            return self._targets.unconfigured
        if id is not None:
            upstream = self._tables.named_upstream(id)
        return self._forward(upstream, timeout) if upstream else _NO_SUCH_UPSTREAM

    def _forward(self, upstream: Upstream, timeout: Timeouts | None) -> Target:
        """Return a target; routes to one upstream share it, and with it the processor's caches."""
        key = (upstream, timeout)
        target = self._forwards.get(key)
        if target is None:
            target = self._forwards[key] = self._targets.forward(upstream, timeout)
        return target

    def _changed_services(self) -> set[str]:
        """Return services that are other ones now, or whose named upstream is."""
        changed = self._tables.changed
        upstreams = changed["upstreams"]
        found = set(changed["services"])
        if upstreams:
            for id, part in self._tables["services"].items():
                service = _service(part)
                if service is not None and service.upstream_id in upstreams:
                    found.add(id)
        return found


def link_global_rules(parts: Mapping[str, Part]) -> tuple[Layer, tuple[SchemaError, ...]]:
    """Merge all global rules into one layer.

    A plugin that several rules name is left out, and reported for each of them. Source:
    apisix/plugin.lua (merge_global_rules).
    """
    owners: dict[str, list[str]] = {}
    steps: dict[str, Step | None] = {}
    for id, part in sorted(parts.items()):
        for name, step in part.plugins.steps.items():
            owners.setdefault(name, []).append(id)
            steps[name] = step
    clashes = []
    for name, ids in owners.items():
        if len(ids) > 1:
            del steps[name]
            text = f"plugin {name} is in several global rules ({', '.join(ids)}): it runs in none"
            path = f"plugins.{name}"
            clashes += [SchemaError(text, kind="global_rules", id=id, path=path) for id in ids]
    return enabled(steps), tuple(clashes)


def _route(part: Part) -> Route:
    assert isinstance(part.model, Route)  # noqa: S101 - the table of routes holds nothing else
    return part.model


def _service(part: Part | None) -> Service | None:
    return part.model if part is not None and isinstance(part.model, Service) else None
