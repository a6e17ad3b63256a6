"""Plugins inside the conf of another plugin: multi-auth, workflow."""

from __future__ import annotations

from collections.abc import Hashable

from ..context import Context
from ..model.base import parse
from ..types import JSON
from .base import Plugin, PluginFinder


def make_nested(plugins: PluginFinder, name: str, conf: JSON, at: str) -> Plugin:
    """Make the instance of a plugin whose conf stands at ``at`` in the holder's; without set-up.

    Raises ReferenceMissing when there is no such plugin, SchemaError when its conf is bad.
    """
    kind = plugins.find(name)
    instance = kind(parse(kind.Conf, conf, at=at))
    instance.compose(plugins)
    return instance


def skip_mark(name: str) -> Hashable:
    """Return what is noted in a context where a plugin of this name has acted inside another."""
    return ("skip", name)


def skip_plugin(ctx: Context, name: str) -> None:
    """Keep a plugin that may act inside another from acting again in this request."""
    ctx.note(skip_mark(name), True)
