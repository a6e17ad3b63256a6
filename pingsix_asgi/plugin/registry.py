"""Find plugin classes by name: given in code, shipped with the gateway, or from an entry point.

``middleware/<name>.py`` is imported when a configuration first names the plugin, so unused plugins
cost no start-up and no list is edited to add one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from ..errors import ReferenceMissing
from .base import Plugin

ENTRY_POINT_GROUP = "pingsix_asgi.plugins"
_PACKAGE = "pingsix_asgi.middleware"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_ALIASES = {"cache": "proxy-cache"}
"""PingSIX's names for plugins that APISIX calls otherwise; both share one class."""

_NOT_YET = {"grpc-web": "it comes with HTTP/2 upstreams"}
"""Plugins that PingSIX has and this gateway does not, and why."""


class Registry:
    """Plugin classes by name; classes given in code win over shipped ones."""

    def __init__(self, plugins: Iterable[type[Plugin]] = ()) -> None:
        self._classes = {plugin.name: plugin for plugin in plugins}

    def find(self, name: str) -> type[Plugin]:
        """Return the class for ``name``.

        Raises ReferenceMissing when nothing provides it, or when it needs a package that is not
        installed.
        """
        known = self._classes.get(name)
        if known is not None:
            return known
        try:
            found = _shipped(name) or _from_entry_point(name)
        except ImportError as error:
            raise ReferenceMissing(f"plugin [{name}] cannot be loaded: {error}") from error
        if found is None and name in _NOT_YET:
            raise ReferenceMissing(f"plugin [{name}] cannot be loaded: {_NOT_YET[name]}")
        if found is None:
            raise ReferenceMissing(f"unknown plugin [{name}]")
        self._classes[name] = found
        return found

    def names(self) -> list[str]:
        """Return the names of all plugins that can be loaded, by priority, highest first."""
        names = set(self._classes)
        names.update(_shipped_names())
        names.update(point.name for point in entry_points(group=ENTRY_POINT_GROUP))
        found: dict[str, int] = {}
        for name in names:
            try:
                found[name] = self.find(name).priority
            except ReferenceMissing:
                continue
        return sorted(found, key=lambda name: (-found[name], name))


def _shipped(name: str) -> type[Plugin] | None:
    if not _NAME.fullmatch(name):
        return None
    module_name = f"{_PACKAGE}.{_ALIASES.get(name, name).replace('-', '_')}"
    if find_spec(module_name) is None:
        return None
    module = import_module(module_name)
    for value in vars(module).values():
        if (
            isinstance(value, type)
            and issubclass(value, Plugin)
            and value.__dict__.get("name") == name
        ):
            return value
    return None


def _shipped_names() -> set[str]:
    package = import_module(_PACKAGE)
    files = (path for folder in package.__path__ for path in Path(folder).glob("[a-z]*.py"))
    return {path.stem.replace("_", "-") for path in files} | set(_ALIASES)


def _from_entry_point(name: str) -> type[Plugin] | None:
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        loaded = point.load()
        if isinstance(loaded, type) and issubclass(loaded, Plugin):
            return loaded
    return None
