"""Authenticate by any of several auth plugins."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

from pydantic import Field

from ..context import Context
from ..errors import SchemaError
from ..http.response import json_reply
from ..model.base import parse
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..plugin.registry import Registry
from ..types import JSON


class MultiAuth(Plugin):
    """Try the auth plugins in order; the first that succeeds decides.

    Source: apisix/plugins/multi-auth.lua.
    """

    name = "multi-auth"
    priority = 2600
    kind = "auth"

    class Conf(PluginConf):
        auth_plugins: Annotated[
            list[Annotated[dict[str, Any], Field(min_length=1)]], Field(min_length=2)
        ]

    def __init__(self, conf: Conf) -> None:
        registry = Registry()
        self._plugins: list[Plugin] = []
        for index, entry in enumerate(conf.auth_plugins):
            for name, document in entry.items():
                plugin = registry.find(name)
                if plugin.kind != "auth":
                    raise SchemaError(
                        f"{name} plugin is not supported", path=f"auth_plugins.{index}"
                    )
                self._plugins.append(_made(plugin, document, f"auth_plugins.{index}.{name}"))
        self._reply = json_reply(401, {"message": "Authorization Failed"})

    def setup(self, host: Host) -> None:
        for plugin in self._plugins:
            plugin.setup(host)

    async def rewrite(self, ctx: Context) -> Reply:
        for plugin in self._plugins:
            reply = plugin.rewrite(ctx)
            if inspect.isawaitable(reply):
                reply = await reply
            if reply is None:
                return None
        return self._reply


def _made(plugin: type[Plugin], document: JSON, at: str) -> Plugin:
    try:
        return plugin(parse(plugin.Conf, document, at=at))
    except SchemaError as error:
        text = f"plugin {plugin.name} check schema failed: {error.message}"
        raise SchemaError(text, path=error.path) from None
