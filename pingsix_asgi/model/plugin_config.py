"""The plugin config: plugins that several routes share."""

from __future__ import annotations

from .fields import PluginConfs, Resource


class PluginConfig(Resource):
    """Plugins for the routes that name it: weaker than the route's, stronger than the service's.

    Source: apisix/schema_def.lua.
    """

    plugins: PluginConfs
