"""The service: what several routes share."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from .fields import ID, HostPattern, Lua, PluginConfs, Resource, Unique
from .upstream import Upstream


class Service(Resource):
    """Plugins, an upstream and hosts for the routes that name it.

    A route's own plugin of the same name, upstream, hosts and enable_websocket win.
    Source: apisix/schema_def.lua. Differs: upstream and upstream_id exclude each other, as in
    PingSIX; neither is required, as in APISIX.
    """

    plugins: PluginConfs | None = None
    upstream: Upstream | None = None
    upstream_id: ID | None = None
    hosts: Annotated[Unique[HostPattern], Field(min_length=1)] | None = None
    enable_websocket: bool | None = None
    script: Lua = None

    @model_validator(mode="after")
    def _one_upstream(self) -> Self:
        if self.upstream is not None and self.upstream_id is not None:
            raise ValueError("only one of upstream or upstream_id is allowed")
        return self
