"""What a plugin offers, read off its class: phases, and options with types, defaults and limits.

The command line and the documentation both show this, so neither can differ from the code.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from .base import REQUEST_PHASES, RESPONSE_PHASES, Plugin, PluginConf

_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches `{}`",
}
_MARK_OF_SECRETS = "A [secret](../secrets.md)."


@dataclass(frozen=True, slots=True)
class Option:
    """One field of a conf; nested fields are named with dots, list items with ``[]``."""

    name: str
    type: str
    default: str
    """JSON text, "required", or "" for unset."""
    limits: str
    description: str


def phases(plugin: type[Plugin]) -> list[str]:
    """Return the phases the plugin has hooks for, in running order."""
    return [
        phase
        for phase in (*REQUEST_PHASES, *RESPONSE_PHASES, "wrap")
        if getattr(plugin, phase) is not getattr(Plugin, phase)
    ]


def options(conf: type[PluginConf]) -> list[Option]:
    """Return every option of a conf, nested ones behind the one they belong to."""
    schema = conf.model_json_schema()
    return list(_options(schema, schema.get("$defs", {}), ""))


def options_table(conf: type[PluginConf], secrets: Collection[str] = ()) -> str:
    """Return the options as a Markdown table; ``secrets`` are those of ``Plugin.encrypted``."""
    rows = ["| option | type | default | limits | meaning |", "| --- | --- | --- | --- | --- |"]
    for option in options(conf):
        is_secret = option.name.replace("[]", "") in secrets
        meaning = " ".join(
            filter(None, (option.description, _MARK_OF_SECRETS if is_secret else ""))
        )
        shown = (option.type, _code(option.default), _cell(option.limits), meaning)
        rows.append(f"| `{option.name}` | {' | '.join(shown)} |")
    return "\n".join(rows) if len(rows) > 2 else "No options."


def _options(schema: dict[str, Any], defs: dict[str, Any], prefix: str) -> Iterator[Option]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        variants = [_resolved(variant, defs) for variant in _variants(field)]
        default = json.dumps(field["default"]) if field.get("default") is not None else ""
        yield Option(
            prefix + name,
            " or ".join(dict.fromkeys(_type(variant, defs) for variant in variants)),
            "required" if name in required else default,
            ", ".join(dict.fromkeys(limit for variant in variants for limit in _limits(variant))),
            " ".join((field.get("description") or _of_class(field, defs)).split()),
        )
        for variant in variants:
            inner = _resolved(variant.get("items", {}), defs)
            mark = "[]." if variant.get("type") == "array" else "."
            yield from _options(inner if mark == "[]." else variant, defs, prefix + name + mark)


def _of_class(field: dict[str, Any], defs: dict[str, Any]) -> str:
    """Return what the class of a field says of itself: pydantic tells the same text once."""
    return str(_resolved(field, defs).get("description", "")) if "$ref" in field else ""


def _variants(field: dict[str, Any]) -> list[dict[str, Any]]:
    found = field.get("anyOf") or field.get("allOf") or [field]
    return [variant for variant in found if variant.get("type") != "null"]


def _resolved(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return defs.get(name, schema) if name else schema


def _type(schema: dict[str, Any], defs: dict[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{json.dumps(v)}`" for v in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        inner = _variants(schema.get("items", {}))
        kinds = dict.fromkeys(_type(_resolved(item, defs), defs) for item in inner)
        return f"list of {' or '.join(kinds)}"
    return str(schema.get("type", "any"))


def _limits(schema: dict[str, Any]) -> Iterator[str]:
    is_list = schema.get("type") == "array"
    for key, text in _LIMITS.items():
        if key in schema:
            limit = text.format(schema[key])
            yield limit.replace("characters", "items") if is_list else limit  # of a validator
    if is_list:
        yield from (f"each {limit}" for limit in _limits(schema.get("items", {})))


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text and text != "required" else text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
