"""Resources to snapshot. Incremental: what did not change is taken over from the one in force."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Hashable, Mapping
from typing import TypeVar

from ..clock import Clock
from ..context import Target
from ..errors import SchemaError
from ..model.resources import Resources
from ..model.ssl import SSL, guarded_names
from ..model.upstream import Upstream as UpstreamModel
from ..plugin.consumer import Consumers
from ..plugin.registry import Registry
from ..routing.router import RouteEntry, Router
from ..settings import Settings
from ..types import ASGIApp
from ..upstream.node import Timeouts
from ..upstream.upstream import Upstream
from .certificate import with_certificate
from .compile import Compiler
from .consumers import ConsumerIndex
from .link import Linker, Targets, link_global_rules
from .link_consumers import ConsumerLinker
from .match import PlanCache
from .runtime import Runtime
from .snapshot import Snapshot
from .state import State
from .tables import ORDER, Tables

T = TypeVar("T")

SLICE_S = 0.005
"""Longest time a gradual build keeps the event loop from requests in flight."""
_FILED_AT_ONCE = 250
"""Routes put into the router between two stops."""


class Builder:
    """Builds snapshots for one runtime.

    ``app`` is the wrapped app, None for a gateway alone. ``settings`` tell what upstreams and
    clients learn about the gateway; None: the defaults.
    """

    def __init__(
        self,
        runtime: Runtime,
        registry: Registry,
        app: ASGIApp | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.runtime = runtime
        self.registry = registry
        self.targets = Targets(app, settings)
        self.plans = PlanCache()

    def build(self, resources: Resources, revision: int = 0) -> Snapshot:
        """Compile resources into a snapshot, without publishing it.

        Starts from the snapshot in force. A resource that does not compile is left out, or stays as
        it was, and is reported in ``errors``. ``resources`` must not be changed afterwards.
        """
        steps = _Build(self, resources, revision).steps()
        while True:
            try:
                next(steps)
            except StopIteration as done:
                snapshot: Snapshot = done.value
                return snapshot

    async def build_gradually(self, resources: Resources, revision: int = 0) -> Snapshot:
        """As ``build``, giving requests in flight their turn every few milliseconds."""
        steps = _Build(self, resources, revision).steps()
        pause_at = time.perf_counter() + SLICE_S
        while True:
            try:
                next(steps)
            except StopIteration as done:
                snapshot: Snapshot = done.value
                return snapshot
            if time.perf_counter() > pause_at:
                await asyncio.sleep(0)
                pause_at = time.perf_counter() + SLICE_S


class _Build:
    """One build; also the gateway that plugins made in it reach."""

    def __init__(self, builder: Builder, resources: Resources, revision: int) -> None:
        self._runtime = builder.runtime
        self._builder = builder
        self._revision = revision
        self._before = builder.runtime.snapshot
        self._is_first = self._before.state is None
        self._state = self._before.state or State()
        self._tables = Tables(self._state, resources)
        self._built_on = builder.runtime.published
        self._made: list[tuple[str, Upstream]] = []

    def steps(self) -> Generator[None, None, Snapshot]:
        """Build, stopping after each piece of work; returns the snapshot."""
        try:
            return (yield from self._steps())
        except BaseException:
            for _, upstream in self._made:
                upstream.stop()
            raise

    def _steps(self) -> Generator[None, None, Snapshot]:
        tables, before, state = self._tables, self._before, self._state
        compiler = Compiler(self._builder.registry, self)
        for kind in ORDER:
            if kind == "upstreams":
                compiler = Compiler(self._builder.registry, self, tables.metadata())
            yield from tables.update(kind, compiler)
        layer, clashes = state.global_layer, state.global_clashes
        is_new_layer = self._is_first or bool(tables.changed["global_rules"])
        if is_new_layer:
            layer, clashes = link_global_rules(tables["global_rules"])
        linker = Linker(tables, layer, self._builder.targets, self._builder.plans)
        router = yield from self._router(linker, is_new_layer)
        consumers, consumer_clashes = self._consumers()
        upstreams, retired = self._upstreams()
        after = State(
            tables.resources,
            tables.tables,
            tables.faults,
            tables.missing(),
            tables.unresolved,
            layer,
            clashes,
            consumer_clashes,
        )
        return Snapshot(
            router=router,
            unmatched=linker.unmatched() if is_new_layer else before.unmatched,
            revision=self._revision,
            upstreams=upstreams,
            fresh=self._fresh(upstreams),
            retired=retired,
            built_on=self._built_on,
            ssls=self._ssls(),
            consumers=consumers,
            errors=tuple(after.errors()),
            changed=tuple(tables.compiled),
            state=after,
        )

    def _router(self, linker: Linker, is_all: bool) -> Generator[None, None, Router]:
        router, routes = self._before.router, self._tables["routes"]
        removed = [id for id in self._tables.changed["routes"] if id not in routes]
        added: list[RouteEntry] = []
        for id in linker.affected(is_all):
            entry = linker.entry(id)
            if entry is None:
                removed.append(id)
            else:
                added.append(entry)
            yield
        if is_all:
            router, removed = Router(), []
        for start in range(0, len(added), _FILED_AT_ONCE):
            router = router.updated(added=added[start : start + _FILED_AT_ONCE])
            yield
        return router.updated(removed_ids=removed) if removed else router

    def _consumers(self) -> tuple[ConsumerIndex, tuple[SchemaError, ...]]:
        tables = self._tables
        kinds = ("consumers", "credentials", "consumer_groups")
        if not any(tables.changed[kind] for kind in kinds):
            return self._before.consumers, self._state.consumer_clashes
        consumers, credentials, groups = (tables[kind] for kind in kinds)
        linker = ConsumerLinker(consumers, credentials, groups, self._builder.registry)
        index = linker.link()
        return index, tuple(linker.clashes)

    def _upstreams(self) -> tuple[Mapping[str, Upstream], tuple[Upstream, ...]]:
        """Return every upstream in use, and those that were in use and are not any more."""
        upstreams = dict(self._before.upstreams)
        lost: dict[str, Upstream] = {}
        for kind, ids in self._tables.changed.items():
            before, now = self._state.table(kind), self._tables[kind]
            for id in ids:
                if id in before:
                    lost.update(before[id].upstreams())
                    for key, _ in before[id].upstreams():
                        del upstreams[key]
                if id in now:
                    upstreams.update(now[id].upstreams())
        retired = tuple(old for key, old in lost.items() if upstreams.get(key) is not old)
        return upstreams, retired

    def _ssls(self) -> Mapping[str, SSL]:
        """Return the certificates that are on, and locks for what should have asked clients."""
        tables, faulty = self._tables, self._tables.faults["ssls"]
        if not tables.changed["ssls"] and not faulty and not self._state.faults.get("ssls"):
            return self._before.ssls
        found = {
            id: part.model
            for id, part in tables["ssls"].items()
            if isinstance(part.model, SSL) and part.model.status == 1
        }
        for id in faulty:
            names = guarded_names(tables.resources["ssls"][id])
            if names:
                found[f"{id}/locked"] = SSL.locked(names)
        return found

    def _fresh(self, upstreams: Mapping[str, Upstream]) -> tuple[Upstream, ...]:
        """Return the upstreams made in this build; those of faulty resources are given up."""
        fresh = []
        for key, upstream in self._made:
            if upstreams.get(key) is upstream:
                fresh.append(upstream)
            else:
                upstream.stop()
        return tuple(fresh)

    # What plugins reach (host.Gateway)

    @property
    def clock(self) -> Clock:
        return self._runtime.clock

    def named_upstream(self, id: str) -> Upstream | None:
        return self._tables.named_upstream(id)

    def compile_upstream(self, model: UpstreamModel, key: str) -> Upstream:
        model = with_certificate(model, self._tables["ssls"])
        made = Upstream.compile(model, key=key, services=self._runtime.upstream_services)
        self._made.append((key, made))
        return made

    def forward(self, upstream: Upstream, timeout: Timeouts | None) -> Target:
        return self._builder.targets.forward(upstream, timeout)

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        return self._runtime.keep(key, make)

    def is_present(self, owner: str) -> bool:
        kind, _, id = owner.partition("/")
        return id in self._tables.resources.get(kind, {})

    def consumers(self, plugin: str) -> Consumers:
        return self._runtime.consumers(plugin)
