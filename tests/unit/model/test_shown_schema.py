"""JSON Schemas as clients are shown them."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import AfterValidator, Field

from pingsix_asgi.model.base import Model
from pingsix_asgi.model.fields import PluginConfs, Unique
from pingsix_asgi.model.schema import shown_schema


class Inner(Model):
    size: int = 3


class Shown(Model):
    text: Annotated[str, Field(min_length=1)] | None = None
    items: Annotated[Unique[int], Field(min_length=1, max_length=2)] | None = None
    table: Annotated[dict[str, int], AfterValidator(lambda value: value), Field(max_length=1)]
    inner: Inner | None = None
    either: str | list[str] | None = None
    plugins: PluginConfs | None = None
    needed: bool


FIELDS = {
    "text": {"minLength": 1, "type": "string"},
    "items": {"items": {"type": "integer"}, "minItems": 1, "maxItems": 2, "type": "array"},
    "table": {
        "additionalProperties": {"type": "integer"},
        "maxProperties": 1,
        "type": "object",
    },
    "inner": {"$ref": "#/$defs/Inner"},
    "either": {"anyOf": [{"type": "string"}, {"items": {"type": "string"}, "type": "array"}]},
    "plugins": {"type": "object"},
    "needed": {"type": "boolean"},
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_shown_as_what_it_is_when_it_is_there(name: str) -> None:
    assert shown_schema(Shown)["properties"][name] == FIELDS[name]


def test_the_rest_is_pydantics() -> None:
    schema = shown_schema(Shown)
    assert (schema["type"], schema["required"]) == ("object", ["table", "needed"])
    assert schema["$defs"]["Inner"]["properties"] == {"size": {"default": 3, "type": "integer"}}
