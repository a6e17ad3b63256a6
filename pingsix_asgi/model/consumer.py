"""The consumer, its credentials: who is calling."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from .fields import ID, PluginConfs, Resource


class Consumer(Resource):
    """A caller by name, with the confs that auth plugins find it by and plugins of its own.

    Label ``custom_id`` is sent on as X-Consumer-Custom-Id. Source: apisix/schema_def.lua.
    """

    username: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[a-zA-Z0-9_\-]+$")]
    group_id: ID | None = None
    plugins: PluginConfs | None = None


def _at_most_one(plugins: PluginConfs) -> PluginConfs:
    if len(plugins) > 1:
        raise ValueError("expect object to have at most 1 properties")
    return plugins


class Credential(Resource):
    """One more way to be found as a consumer: the conf of exactly one auth plugin.

    Source: apisix/schema_def.lua (credential).
    """

    plugins: Annotated[PluginConfs, AfterValidator(_at_most_one)] | None = None
