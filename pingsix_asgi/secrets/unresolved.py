"""Secrets that a plugin would need and that are still only references.

The text of a reference must never be taken for the secret: anybody who can read a configuration
could pass with it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..model.fields import is_reference
from ..plugin.base import Plugin, PluginFinder
from ..types import JSON
from .fields import Path, change_conf

MESSAGE = "disabled: a secret it refers to cannot be resolved"


def unresolved(plugin: type[Plugin], conf: JSON, plugins: PluginFinder) -> list[Path]:
    """Return where a conf holds references in place of secrets, below the conf.

    Of an auth plugin every text counts, of others what they, or plugins inside them, mark as
    secret.
    """
    if plugin.kind == "auth":
        return list(_references(conf, ()))
    found: list[Path] = []

    def look(path: Path, value: str) -> str:
        if is_reference(value):
            found.append(path)
        return value

    change_conf(plugin.name, conf, plugins, look)
    return found


def _references(node: JSON, at: Path) -> Iterator[Path]:
    if isinstance(node, str):
        if is_reference(node):
            yield at
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _references(value, (*at, name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _references(value, (*at, index))
