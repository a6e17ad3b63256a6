"""The consumer group: plugins that several consumers share."""

from __future__ import annotations

from .fields import PluginConfs, Resource


class ConsumerGroup(Resource):
    """Plugins for the consumers that name it: weaker than the consumer's, stronger than a route's.

    Source: apisix/schema_def.lua.
    """

    plugins: PluginConfs
