"""The base of every model, and how its validation errors read.

Error texts follow APISIX's JSON schema validator, because clients and tests out there match them.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import SchemaError
from ..types import JSON

M = TypeVar("M", bound="Model")

_JSON_TYPES = {
    "bool": "boolean",
    "dict": "object",
    "float": "number",
    "int": "integer",
    "list": "array",
    "model": "object",
    "string": "string",
}


class Model(BaseModel):
    """Frozen, strict (no "5" for 5), unknown fields refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=True)


def parse(model: type[M], document: JSON, *, kind: str = "", id: str = "", at: str = "") -> M:
    """Validate a document. Raises SchemaError for the first problem, naming its field."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        path, message = explain(error)[0]
        full = ".".join(part for part in (at, path) if part)
        raise SchemaError(message, kind=kind, id=id, path=full) from None


def explain(error: ValidationError) -> list[tuple[str, str]]:
    """Return (dotted field path, text) for every problem found, in field order."""
    return [_explain_one(item) for item in error.errors(include_url=False)]


def _explain_one(item: Any) -> tuple[str, str]:
    path = [str(part) for part in item["loc"]]
    where = ".".join(path)
    kind, ctx, name = item["type"], item.get("ctx", {}), path[-1] if path else ""
    if kind == "missing":
        return where, f'property "{name}" is required'
    if kind == "extra_forbidden":
        return where, f"additional properties forbidden, found {name}"
    return where, f'property "{name}" validation failed: {_reason(kind, ctx, item)}'


def _reason(kind: str, ctx: dict[str, Any], item: Any) -> str:  # noqa: C901 - one flat table
    value = item["input"]
    match kind:
        case "greater_than":
            return f"expected {value} to be strictly greater than {ctx['gt']}"
        case "greater_than_equal":
            return f"expected {value} to be at least {ctx['ge']}"
        case "less_than":
            return f"expected {value} to be strictly smaller than {ctx['lt']}"
        case "less_than_equal":
            return f"expected {value} to be at most {ctx['le']}"
        case "string_too_short":
            return f"string too short, expected at least {ctx['min_length']}, got {len(value)}"
        case "string_too_long":
            return f"string too long, expected at most {ctx['max_length']}, got {len(value)}"
        case "string_pattern_mismatch":
            return f'failed to match pattern "{ctx["pattern"]}" with "{value}"'
        case "too_short":
            return f"expect array to have at least {ctx['min_length']} items"
        case "too_long":
            return f"expect array to have at most {ctx['max_length']} items"
        case "literal_error" | "enum":
            return f"matches none of the enum values ({ctx['expected']})"
        case "value_error":
            return str(ctx["error"])
    if kind.endswith("_type"):
        expected = _JSON_TYPES.get(kind.removesuffix("_type"), kind.removesuffix("_type"))
        return f"wrong type: expected {expected}, got {_json_type(value)}"
    return str(item["msg"])


def _json_type(value: JSON) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case dict():
            return "object"
    return type(value).__name__
