"""Turn the ``plugins`` object of a resource into steps, and merge the steps of several resources.

Every problem of every plugin is collected, so that one round shows a user all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal, TypeAlias

from ..errors import ReferenceMissing, SchemaError
from ..model.base import problems
from ..types import JSON
from .base import Plugin, PluginConf, PluginFinder
from .meta import FILTER_FAULT, FILTER_PATH, Decorator, Meta, decorator, split_meta
from .plan import Step
from .registry import Registry

logger = logging.getLogger("pingsix_asgi.plugin")

Steps: TypeAlias = Mapping[str, Step | None]
"""Steps by plugin name; None for a disabled plugin, which still hides weaker ones of its name."""

Role: TypeAlias = Literal["route", "consumer"]
"""Whose conf it is: on a consumer or credential, auth plugins take their ``ConsumerConf``."""


class Faults:
    """What is wrong with one resource."""

    def __init__(self, kind: str, id: str) -> None:
        self.kind, self.id = kind, id
        self.errors: list[SchemaError] = []

    def add(self, message: str, path: str = "") -> None:
        """Report a problem of the field at ``path``."""
        self.errors.append(SchemaError(message, kind=self.kind, id=self.id, path=path))

    def add_missing(self, message: str, path: str) -> None:
        """Report something that is named and not there."""
        self.errors.append(ReferenceMissing(message, kind=self.kind, id=self.id, path=path))

    def add_conf(self, plugin: str, errors: Iterable[SchemaError]) -> None:
        """Report problems of a plugin conf, in the words of APISIX."""
        lead = f"failed to check the configuration of plugin {plugin} err: "
        for error in errors:
            path = ".".join(part for part in ("plugins", plugin, error.path) if part)
            is_complete = error.message.startswith(FILTER_FAULT) and error.path == FILTER_PATH
            self.add(error.message if is_complete else lead + error.message, path)


def find_plugin(registry: Registry, name: str, faults: Faults) -> type[Plugin] | None:
    """Return the class of a plugin; None after reporting that there is none."""
    try:
        return registry.find(name)
    except ReferenceMissing as error:
        faults.add_missing(error.message, f"plugins.{name}")
        return None


def compile_step(
    plugin: type[Plugin], conf: JSON, faults: Faults, registry: PluginFinder
) -> Step | None:
    """Validate a conf and make its instance, without ``setup``; None if disabled or faulty.

    ``registry`` has the plugins that this one may hold.

    Faults of a disabled plugin are only logged. Source: apisix/plugin.lua (check_single_plugin).
    """
    parsed = _parsed(plugin, plugin.Conf, conf, faults)
    if parsed is None:
        return None
    options, meta = parsed
    known = len(faults.errors)
    instance = _made(plugin, options, faults, registry)
    wrap = _decorator(plugin, meta, faults)
    if instance is None or len(faults.errors) > known:
        return None
    priority = plugin.priority if meta.priority is None else meta.priority
    return Step(instance, priority, wrap)


def parse_consumer_conf(plugin: type[Plugin], conf: JSON, faults: Faults) -> PluginConf | None:
    """Validate what a consumer or credential holds for an auth plugin; None if faulty."""
    if plugin.ConsumerConf is None:
        faults.add_conf(plugin.name, [SchemaError("this plugin knows no consumers")])
        return None
    parsed = _parsed(plugin, plugin.ConsumerConf, conf, faults)
    return None if parsed is None else parsed[0]


def judge_confs(registry: Registry, confs: JSON, is_consumer: bool, faults: Faults) -> None:
    """Report what is wrong with the plugins of a resource that is faulty elsewhere, too."""
    for name, conf in confs.items() if isinstance(confs, dict) else ():
        plugin = find_plugin(registry, name, faults)
        if plugin is None or not isinstance(conf, dict):
            continue
        if is_consumer and plugin.kind == "auth":
            parse_consumer_conf(plugin, conf, faults)
        else:
            compile_step(plugin, conf, faults, registry)


def merge(*layers: Steps) -> dict[str, Step | None]:
    """Merge layers, the strongest first: whole confs replace each other, fields never mix."""
    merged: dict[str, Step | None] = {}
    for layer in reversed(layers):
        merged.update(layer)
    return merged


def enabled(layer: Steps) -> dict[str, Step]:
    """Return the steps that run."""
    return {name: step for name, step in layer.items() if step is not None}


def _made(
    plugin: type[Plugin], options: PluginConf, faults: Faults, registry: PluginFinder
) -> Plugin | None:
    try:
        instance = plugin(options)
        instance.compose(registry)
    except SchemaError as error:
        faults.add_conf(plugin.name, error.errors)
    except Exception as error:  # code of a third party: its faults are told like any other
        faults.add_conf(plugin.name, [SchemaError(f"{type(error).__name__}: {error}")])
    else:
        return instance
    return None


def _decorator(plugin: type[Plugin], meta: Meta, faults: Faults) -> Decorator | None:
    try:
        return decorator(plugin, meta)
    except SchemaError as error:
        faults.add_conf(plugin.name, [error])
        return None


def _parsed(
    plugin: type[Plugin], model: type[PluginConf], conf: JSON, faults: Faults
) -> tuple[PluginConf, Meta] | None:
    """Return options and ``_meta``; None when there are faults or the plugin is disabled."""
    options, meta = split_meta(conf)
    found = problems(model, options)
    if isinstance(meta, list):
        faults.add_conf(plugin.name, [*meta, *(found if isinstance(found, list) else ())])
        return None
    if not isinstance(found, list):
        if unknown := options.keys() - _names(model):
            names = ", ".join(sorted(unknown))
            logger.warning(
                "%s/%s: plugin %s: no option %s", faults.kind, faults.id, plugin.name, names
            )
        return None if meta.disable else (found, meta)
    if meta.disable:
        logger.warning("conf of the disabled plugin %s is invalid: %s", plugin.name, found[0])
    else:
        faults.add_conf(plugin.name, found)
        _decorator(plugin, meta, faults)  # for what is wrong with it
    return None


@cache
def _names(model: type[PluginConf]) -> frozenset[str]:
    """Return the names that options can be given by."""
    fields = model.model_fields
    return frozenset((*fields, *(field.alias for field in fields.values() if field.alias)))
