"""JSON Schemas of models, as clients of the Admin API are shown them.

A field that may be left out is shown as what it is when it is there.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from .base import Model

_SIZES: Final = {
    "array": {"minLength": "minItems", "maxLength": "maxItems"},
    "object": {"minLength": "minProperties", "maxLength": "maxProperties"},
}
"""Limits that pydantic names as for texts where a validator stands between them and the type."""


def shown_schema(model: type[Model]) -> JsonSchemaValue:
    """Return the JSON Schema of a model."""
    return TypeAdapter(model).json_schema(schema_generator=_Shown)


class _Shown(GenerateJsonSchema):
    def generate(
        self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation"
    ) -> JsonSchemaValue:
        found: JsonSchemaValue = _sized(super().generate(schema, mode))
        return found

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        if found.get("default", ...) is None:
            del found["default"]
        return found


def _sized(node: Any) -> Any:
    if isinstance(node, list):
        return [_sized(part) for part in node]
    if not isinstance(node, dict):
        return node
    kind = node.get("type")
    names = _SIZES.get(kind, {}) if isinstance(kind, str) else {}
    return {names.get(name, name): _sized(part) for name, part in node.items()}
