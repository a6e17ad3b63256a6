"""The service: what several routes share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .fields import ID, HostPattern, Lua, PluginConfs, Resource, Unique
from .upstream import Upstream


class Service(Resource):
    """Plugins, an upstream and hosts for the routes that name it.

    A route's own plugin of the same name, upstream, hosts and enable_websocket win.
    ``upstream_id`` goes before ``upstream``; neither is required. Source: apisix/schema_def.lua.
    """

    plugins: PluginConfs | None = None
    upstream: Upstream | None = None
    upstream_id: ID | None = None
    hosts: Annotated[Unique[HostPattern], Field(min_length=1)] | None = None
    enable_websocket: bool | None = None
    script: Lua = None
