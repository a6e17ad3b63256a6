"""Authenticate by any of several auth plugins."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from ..context import Context
from ..errors import SchemaError, SchemaErrors, each
from ..http.response import json_reply
from ..plugin.base import Host, Plugin, PluginConf, PluginFinder, Reply
from ..plugin.nested import find_nested, make_nested
from ..types import JSON, RawHeaders


class MultiAuth(Plugin):
    """Try the auth plugins in order; the first that succeeds decides.

    When none does, the client gets the challenge of the last one.
    Source: apisix/plugins/multi-auth.lua.
    """

    name = "multi-auth"
    priority = 2600
    kind = "auth"
    nested = ("auth_plugins",)

    class Conf(PluginConf):
        auth_plugins: Annotated[
            list[Annotated[dict[str, Any], Field(min_length=1)]], Field(min_length=2)
        ]
        """Objects ``{name: conf}``, tried in order."""

    def __init__(self, conf: Conf) -> None:
        self._confs = conf.auth_plugins
        self._plugins: list[Plugin] = []

    def compose(self, plugins: PluginFinder) -> None:
        self._plugins = each(
            partial(_made, plugins, name, document, f"auth_plugins.{index}.{name}")
            for index, entry in enumerate(self._confs)
            for name, document in entry.items()
        )

    def setup(self, host: Host) -> None:
        for plugin in self._plugins:
            plugin.setup(host)

    async def rewrite(self, ctx: Context) -> Reply:
        challenge: RawHeaders = []
        for plugin in self._plugins:
            reply = plugin.rewrite(ctx)
            if inspect.isawaitable(reply):
                reply = await reply
            if reply is None:
                return None
            sent = [pair for pair in reply.headers if pair[0] == b"www-authenticate"]
            challenge = sent or challenge
        return json_reply(401, {"message": "Authorization Failed"}, challenge)


def _made(plugins: PluginFinder, name: str, document: JSON, at: str) -> Plugin:
    if find_nested(plugins, name, at).kind != "auth":
        raise SchemaError(f"{name} plugin is not supported", path=at)
    try:
        return make_nested(plugins, name, document, at)
    except SchemaError as error:
        lead = f"plugin {name} check schema failed: "
        raise SchemaErrors(
            [SchemaError(lead + one.message, path=one.path) for one in error.errors]
        ) from None
