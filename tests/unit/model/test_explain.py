"""How problems read: the chain of fields, as APISIX's validator writes it."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.model.base import Model, parse, problems
from pingsix_asgi.types import JSON


class Inner(Model):
    size: Annotated[int, Field(ge=1, lt=10)] = 1
    mode: Literal["a", "b"] = "a"
    either: str | list[str] | None = None


class Outer(Model):
    name: Annotated[str, Field(min_length=2, max_length=3, pattern="^[a-z]*$")] = "ab"
    ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    inner: Inner | None = None
    items: Annotated[list[Inner], Field(min_length=1, max_length=2)] | None = None
    by_name: Annotated[dict[str, Inner], Field(min_length=1)] | None = None
    needed: bool


CASES: list[tuple[JSON, str, str]] = [
    ({}, "needed", 'property "needed" is required'),
    ({"needed": 1}, "needed", "wrong type: expected boolean, got number"),
    ({"needed": True, "x": 1}, "x", "additional properties forbidden, found x"),
    ({"needed": True, "name": "a"}, "name", "string too short, expected at least 2, got 1"),
    ({"needed": True, "name": "abcd"}, "name", "string too long, expected at most 3, got 4"),
    ({"needed": True, "name": "A1"}, "name", 'failed to match pattern "^[a-z]*$" with "A1"'),
    ({"needed": True, "name": None}, "name", "wrong type: expected string, got null"),
    ({"needed": True, "ratio": 0}, "ratio", "expected 0 to be strictly greater than 0"),
    ({"needed": True, "ratio": 2}, "ratio", "expected 2 to be at most 1"),
    ({"needed": True, "items": []}, "items", "expect array to have at least 1 items"),
    ({"needed": True, "items": {}}, "items", "expect array to have at least 1 items"),
    ({"needed": True, "inner": {"either": {}}}, "inner.either", "wrong type: expected string"),
    ({"needed": True, "items": [{}] * 3}, "items", "expect array to have at most 2 items"),
    ({"needed": True, "by_name": {}}, "by_name", "expect object to have at least 1 properties"),
    ({"needed": True, "inner": {"size": 10}}, "inner.size", "to be strictly smaller than 10"),
    ({"needed": True, "inner": {"mode": "c"}}, "inner.mode", "matches none of the enum values"),
    ({"needed": True, "inner": {"either": 1}}, "inner.either", "wrong type: expected string"),
    ({"needed": True, "items": [{}, {"size": 0}]}, "items.1.size", "expected 0 to be at least 1"),
    ({"needed": True, "by_name": {"k": {"y": 1}}}, "by_name.k.y", "forbidden, found y"),
    ([], "", "wrong type: expected object, got table"),
    ("x", "", "wrong type: expected object, got string"),
]


@pytest.mark.parametrize(("document", "path", "text"), CASES)
def test_path_and_text(document: JSON, path: str, text: str) -> None:
    found = problems(Outer, document)
    assert isinstance(found, list)
    assert [error.path for error in found] == [path]
    assert text in found[0].message


def test_the_text_names_the_whole_chain() -> None:
    found = problems(Outer, {"needed": True, "items": [{"size": "x"}]})
    assert isinstance(found, list)
    assert found[0].message == (
        'property "items" validation failed: failed to validate item 1: '
        'property "size" validation failed: wrong type: expected integer, got string'
    )


def test_every_problem_is_told_in_order() -> None:
    found = problems(Outer, {"name": "a", "ratio": 5, "zzz": 1})
    assert isinstance(found, list)
    assert [error.path for error in found] == ["name", "ratio", "needed", "zzz"]


def test_a_field_of_a_union_is_told_once() -> None:
    found = problems(Inner, {"either": 5})
    assert isinstance(found, list)
    assert [error.path for error in found] == ["either"]


def test_parse_raises_the_first_with_its_place() -> None:
    with pytest.raises(SchemaError) as raised:
        parse(Outer, {"ratio": 5}, kind="routes", id="1", at="plugins.x")
    assert str(raised.value).startswith("routes/1: plugins.x.ratio: property ")
