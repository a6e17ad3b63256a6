"""What a plugin instance may ask of the gateway, and what is noted about its asking."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar

from ..clock import Clock
from ..context import Target
from ..errors import ReferenceMissing
from ..model.base import parse
from ..model.upstream import Upstream as UpstreamModel
from ..plugin.base import PluginConf
from ..plugin.consumer import Consumers
from ..types import JSON
from ..upstream.node import Timeouts
from ..upstream.upstream import Upstream
from .certificate import refuse_named

T = TypeVar("T")


class Gateway(Protocol):
    """The part of a build, and of the runtime behind it, that plugins reach."""

    @property
    def clock(self) -> Clock: ...

    def named_upstream(self, id: str) -> Upstream | None:
        """Return the upstream in force under ``id``."""

    def compile_upstream(self, model: UpstreamModel, key: str) -> Upstream:
        """Compile an inline upstream.

        Raises SchemaError, ReferenceMissing when the certificate it names is not there.
        """

    def forward(self, upstream: Upstream, timeout: Timeouts | None) -> Target:
        """Return the target that sends requests to an upstream."""

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what outlives snapshots under ``key``."""

    def is_present(self, owner: str) -> bool:
        """Tell whether a resource is in the configuration that is being built."""

    def consumers(self, plugin: str) -> Consumers:
        """Return who an auth plugin can find, always as of the snapshot in force."""


class PluginHost:
    """The Host of one plugin instance, with what it was set up with.

    ``uses`` holds the named upstreams it asked for, None for those that were not there; when one of
    them is another by now, the instance is made anew. ``upstreams`` are its inline ones: they live
    as long as it does. ``timeout`` is that of the route it belongs to.
    """

    def __init__(
        self,
        owner: str,
        plugin: str,
        gateway: Gateway,
        metadata: PluginConf | None,
        timeout: Timeouts | None,
    ) -> None:
        self.owner = owner
        self.clock = gateway.clock
        self.uses: dict[str, Upstream | None] = {}
        self.upstreams: dict[str, Upstream] = {}
        self._plugin = plugin
        self._gateway = gateway
        self._metadata = metadata
        self._timeout = timeout

    def metadata(self) -> PluginConf | None:
        return self._metadata

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        return self._gateway.keep(key, make)

    def is_present(self, owner: str) -> bool:
        return self._gateway.is_present(owner)

    def target(self, upstream: JSON) -> Target:
        if isinstance(upstream, dict):
            model = parse(UpstreamModel, upstream)
            refuse_named(model)
            key = f"{self.owner}/plugins/{self._plugin}/{len(self.upstreams)}"
            found = self._gateway.compile_upstream(model, key)
            self.upstreams[key] = found
        else:
            found = self._named(str(upstream))
        return self._gateway.forward(found, self._timeout)

    def consumers(self, plugin: str) -> Consumers:
        return self._gateway.consumers(plugin)

    def _named(self, id: str) -> Upstream:
        found = self.uses[id] = self._gateway.named_upstream(id)
        if found is None:
            text = f"failed to fetch upstream info by upstream id [{id}], response code: 404"
            raise ReferenceMissing(text)
        return found
