"""Secrets that a plugin would need and that are still only references.

The text of a reference must never be taken for the secret: anybody who can read a configuration
could pass with it.
"""

from __future__ import annotations

from ..model.fields import is_reference
from ..plugin.base import Plugin, PluginFinder
from ..types import JSON
from .fields import Path, change_conf, texts

MESSAGE = "disabled: a secret it refers to cannot be resolved"


def unresolved(plugin: type[Plugin], conf: JSON, plugins: PluginFinder) -> list[Path]:
    """Return where a conf holds references in place of secrets, below the conf.

    Of an auth plugin every text counts, of others what they, or plugins inside them, mark as
    secret.
    """
    if plugin.kind == "auth":
        return [at for at, text in texts(conf) if is_reference(text)]
    found: list[Path] = []

    def look(path: Path, value: str) -> str:
        if is_reference(value):
            found.append(path)
        return value

    change_conf(plugin.name, conf, plugins, look)
    return found
