"""The global rule: plugins for every request."""

from __future__ import annotations

from .fields import PluginConfs, Resource


class GlobalRule(Resource):
    """Plugins that run for every request, matched or not, before those of the route.

    A plugin named in two global rules runs in none. Source: apisix/schema_def.lua.
    """

    plugins: PluginConfs
