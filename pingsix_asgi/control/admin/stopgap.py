"""Stands in for the whole check until the snapshot package has it."""

from __future__ import annotations

from ...errors import ReferenceMissing, SchemaError
from ...model.base import parse
from ...model.resources import parse_document
from ...plugin.registry import Registry
from ...types import JSON


def check_document(kind: str, id: str, document: JSON, registry: Registry) -> list[SchemaError]:
    """Return every problem of one document."""
    found = parse_document(kind, id, document)
    if isinstance(found, list):
        return found
    for name, conf in (document.get("plugins") or {}).items():
        try:
            plugin = registry.find(name)
            options = {key: value for key, value in conf.items() if key != "_meta"}
            of_consumer = plugin.ConsumerConf if kind in ("consumers", "credentials") else None
            model = of_consumer or plugin.Conf
            parse(model, options)
        except ReferenceMissing:
            return [SchemaError(f"unknown plugin [{name}]", path=f"plugins.{name}")]
        except SchemaError as error:
            text = f"failed to check the configuration of plugin {name} err: {error.message}"
            return [SchemaError(text, path=f"plugins.{name}")]
    return []
