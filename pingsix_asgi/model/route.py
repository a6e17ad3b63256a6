"""The route: which requests, which plugins, which upstream."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from .base import Located
from .fields import (
    ID,
    Address,
    HostPattern,
    Lua,
    Method,
    PluginConfs,
    Resource,
    Timeout,
    Unique,
)
from .upstream import Upstream

_ONE_PATH = "allOf 1 failed: value should match only one schema"

Path = Annotated[str, Field(min_length=1, max_length=4096)]


class Route(Resource):
    """A rule that sends matching requests to an upstream, through its plugins.

    Exactly one of ``uri`` and ``uris``; at least one of plugins, upstream, upstream_id, service_id
    and plugin_config_id. ``upstream_id`` goes before ``upstream``. ``vars`` is an expression
    (expr/expression.py). ``status`` 0 keeps the route out of the router. ``enable_websocket`` None
    takes the service's, and then allows.
    Source: apisix/schema_def.lua. Differs: ``methods`` may hold any upper-case token, as PingSIX's.
    """

    uri: Path | None = None
    uris: Annotated[Unique[Path], Field(min_length=1)] | None = None
    methods: Unique[Method] | None = None
    host: HostPattern | None = None
    hosts: Annotated[Unique[HostPattern], Field(min_length=1)] | None = None
    remote_addr: Address | None = None
    remote_addrs: Annotated[Unique[Address], Field(min_length=1)] | None = None
    vars: list[Any] | None = None
    filter_func: Lua = None
    priority: int = 0
    status: Literal[0, 1] = 1
    enable_websocket: bool | None = None
    plugins: PluginConfs | None = None
    plugin_config_id: ID | None = None
    script: Lua = None
    script_id: Lua = None
    upstream: Upstream | None = None
    upstream_id: ID | None = None
    service_id: ID | None = None
    timeout: Timeout | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path pattern, however it was given."""
        return self.uris if self.uris is not None else (self.uri or "",)

    @property
    def all_hosts(self) -> tuple[str, ...]:
        """Every host pattern; () for any host."""
        return (self.host,) if self.host is not None else self.hosts or ()

    @property
    def all_remote_addrs(self) -> tuple[str, ...]:
        """Every client address or block; () for any client."""
        return (self.remote_addr,) if self.remote_addr is not None else self.remote_addrs or ()

    @model_validator(mode="after")
    def _one_form_each(self) -> Self:
        if self.uri is not None and self.uris is not None:
            text = "but matches both schemas 1 and 2"
            raise Located(f"{_ONE_PATH}, {text}", "uris", hint="give uri or uris, not both")
        if self.uri is None and self.uris is None:
            raise Located(f"{_ONE_PATH}, but matches none", "uri", hint="uri or uris is needed")
        if self.host is not None and self.hosts is not None:
            raise Located("only one of host or hosts is allowed", "hosts")
        if self.remote_addr is not None and self.remote_addrs is not None:
            raise Located("only one of remote_addr or remote_addrs is allowed", "remote_addrs")
        return self

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        fields = ("plugins", "upstream", "upstream_id", "service_id", "plugin_config_id")
        if all(getattr(self, field) is None for field in fields):
            named = '"plugins", "upstream", "upstream_id", "service_id" or "plugin_config_id"'
            raise ValueError(f"object matches none of the required: one of {named} is needed")
        return self
