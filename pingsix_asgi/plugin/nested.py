"""Plugins inside the conf of another plugin: multi-auth, workflow."""

from __future__ import annotations

from collections.abc import Hashable

from ..context import Context
from ..errors import ReferenceMissing, SchemaError, SchemaErrors
from ..model.base import problems
from ..types import JSON
from .base import Plugin, PluginFinder


def make_nested(plugins: PluginFinder, name: str, conf: JSON, at: str) -> Plugin:
    """Make the instance of a plugin whose conf stands at ``at`` in the holder's; without set-up.

    Raises ReferenceMissing when there is no such plugin, SchemaErrors when its conf is bad.
    """
    kind = find_nested(plugins, name, at)
    options = problems(kind.Conf, conf, at=at)
    if isinstance(options, list):
        raise SchemaErrors(options)
    try:
        instance = kind(options)
        instance.compose(plugins)
    except SchemaError as error:
        raise SchemaErrors([_below(at, one) for one in error.errors]) from None
    return instance


def find_nested(plugins: PluginFinder, name: str, at: str) -> type[Plugin]:
    """Return the class of a plugin named at ``at``. Raises ReferenceMissing that says so."""
    try:
        return plugins.find(name)
    except ReferenceMissing as error:
        raise ReferenceMissing(error.message, path=at) from None


def _below(at: str, error: SchemaError) -> SchemaError:
    return SchemaError(error.message, path=".".join(part for part in (at, error.path) if part))


def skip_mark(name: str) -> Hashable:
    """Return what is noted in a context where a plugin of this name has acted inside another."""
    return ("skip", name)


def skip_plugin(ctx: Context, name: str) -> None:
    """Keep a plugin that may act inside another from acting again in this request."""
    ctx.note(skip_mark(name), True)
