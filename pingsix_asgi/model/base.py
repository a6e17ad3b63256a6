"""The base of every model, and how its validation errors read.

Error texts follow APISIX's JSON schema validator, because clients and tests out there match them:
they name the whole chain of fields, ``property "upstream" validation failed: property "type" …``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ..errors import SchemaError
from ..types import JSON

M = TypeVar("M", bound="Model")

_JSON_TYPES = {
    "bool": "boolean",
    "dict": "object",
    "float": "number",
    "int": "integer",
    "list": "array",
    "mapping": "object",
    "model": "object",
    "set": "array",
    "string": "string",
    "tuple": "array",
}

_BY_PATTERN: dict[int | str, str] = {"labels": ".*", "extra_headers": "^[^:]+$"}
"""Objects whose fields APISIX's schemas describe by a pattern of their names."""


class Model(BaseModel):
    """Frozen, strict (no "5" for 5), unknown fields refused."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


class Located(ValueError):
    """A problem of one field that only a look at several finds.

    Its text is told of the whole, as APISIX's validator does, its path names the field at
    ``where`` below it. ``hint`` is the problem in plain words.
    """

    def __init__(self, text: str, *where: int | str, hint: str = "") -> None:
        super().__init__(text)
        self.where = where
        self.hint = hint


class Plain(Located):
    """A problem whose text is told without the names of the fields it is in.

    APISIX's validator knows nothing of these: they are found by code of their own.
    """


class Several(ValueError):
    """Problems that one look finds, each told on its own."""

    def __init__(self, errors: Sequence[Located]) -> None:
        super().__init__(str(errors[0]))
        self.errors = errors


def parse(model: type[M], document: JSON, *, kind: str = "", id: str = "", at: str = "") -> M:
    """Validate a document. Raises SchemaError for the first problem, naming its field."""
    found = problems(model, document, kind=kind, id=id, at=at)
    if isinstance(found, list):
        raise found[0] from None
    return found


def problems(
    model: type[M], document: JSON, *, kind: str = "", id: str = "", at: str = ""
) -> M | list[SchemaError]:
    """Validate a document: the model, or every problem found."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        listed = _with_empty_lists(document, error)
        if listed is not document:
            return problems(model, listed, kind=kind, id=id, at=at)
        return [
            SchemaError(
                text,
                kind=kind,
                id=id,
                path=".".join(part for part in (at, path) if part),
                hint=hint,
            )
            for path, (text, hint) in _explain_all(error, document).items()
        ]


def _with_empty_lists(document: JSON, error: ValidationError) -> JSON:
    """Put ``[]`` where an empty object stands for a list: Lua, and so APISIX, cannot tell them."""
    items = error.errors(include_url=False, include_context=False)
    places = [_location(item, document) for item in items]
    for item, place in zip(items, places, strict=True):
        is_list = item["type"] in ("list_type", "tuple_type")
        if is_list and item["input"] == {} and places.count(place) == 1:  # and nothing else
            document = _with_list(document, place)
    return document


def _with_list(node: JSON, where: tuple[int | str, ...]) -> JSON:
    if not where:
        return []
    first, rest = where[0], where[1:]
    if isinstance(node, dict):
        return {**node, first: _with_list(node[first], rest)}
    return [_with_list(part, rest) if index == first else part for index, part in enumerate(node)]


def explain(error: ValidationError, document: JSON = None) -> list[tuple[str, str]]:
    """Return (dotted field path, text) for every problem found, in field order.

    With the ``document``, the marks pydantic puts in a path for the branches of a union are
    dropped, and only the first problem of a field is told.
    """
    return [(path, text) for path, (text, _) in _explain_all(error, document).items()]


def _explain_all(error: ValidationError, document: JSON) -> dict[str, tuple[str, str]]:
    """Return text and hint by path."""
    found: dict[str, tuple[str, str]] = {}
    for item in error.errors(include_url=False):
        where = _location(item, document)
        cause = item.get("ctx", {}).get("error")
        for one in cause.errors if isinstance(cause, Several) else (cause,):
            below, hint = (one.where, one.hint) if isinstance(one, Located) else ((), "")
            path = ".".join(str(part) for part in (*where, *below))
            found.setdefault(path, (_explain_one(item, where, one), hint))
    return found


def _location(item: ErrorDetails, document: JSON) -> tuple[int | str, ...]:
    """Return the path of a problem, without the parts that are not in the document."""
    loc = item["loc"]
    if document is None:
        return loc
    last = len(loc) - 1
    kept: list[int | str] = []
    node = document
    for index, part in enumerate(loc):
        if isinstance(node, dict) and part in node:
            node = node[str(part)]
        elif isinstance(node, list | tuple) and isinstance(part, int) and part < len(node):
            node = node[part]
        elif not (index == last and item["type"] == "missing") and part != "[key]":
            continue
        kept.append(part)
    return tuple(kept)


def _explain_one(item: ErrorDetails, where: tuple[int | str, ...], cause: object) -> str:
    kind, name = item["type"], where[-1] if where else ""
    if isinstance(cause, Plain):
        return str(cause)
    if kind == "missing":
        return _chain(where[:-1]) + f'property "{name}" is required'
    if kind == "extra_forbidden":
        return _chain(where[:-1]) + f"additional properties forbidden, found {name}"
    if kind == "value_error":
        return f"{_chain(where)}{cause}"
    return _chain(where) + _reason(kind, item.get("ctx", {}), item)


def _chain(where: tuple[int | str, ...]) -> str:
    names = [part for part in where if part != "[key]"]
    return "".join(_link(names[index - 1 : index], part) for index, part in enumerate(names))


def _link(parent: list[int | str], part: int | str) -> str:
    if isinstance(part, int):
        return f"failed to validate item {part + 1}: "
    pattern = _BY_PATTERN.get(parent[0]) if parent else None
    if pattern is not None:
        return f'failed to validate {part} (matching "{pattern}"): '
    return f'property "{part}" validation failed: '


def _reason(kind: str, ctx: dict[str, Any], item: ErrorDetails) -> str:
    value = item["input"]
    match kind:
        case "greater_than":
            return f"expected {value} to be strictly greater than {_number(ctx['gt'])}"
        case "greater_than_equal":
            return f"expected {value} to be at least {_number(ctx['ge'])}"
        case "less_than":
            return f"expected {value} to be strictly smaller than {_number(ctx['lt'])}"
        case "less_than_equal":
            return f"expected {value} to be at most {_number(ctx['le'])}"
        case "string_too_short":
            return f"string too short, expected at least {ctx['min_length']}, got {len(value)}"
        case "string_too_long":
            return f"string too long, expected at most {ctx['max_length']}, got {len(value)}"
        case "string_pattern_mismatch":
            return f'failed to match pattern "{ctx["pattern"]}" with "{value}"'
        case "too_short":
            return f"expect {_many(value)} to have at least {ctx['min_length']} {_items(value)}"
        case "too_long":
            return f"expect {_many(value)} to have at most {ctx['max_length']} {_items(value)}"
        case "literal_error" | "enum":
            return "matches none of the enum values"
    if kind.endswith("_type"):
        expected = kind.removesuffix("_type")
        return f"wrong type: expected {_JSON_TYPES.get(expected, expected)}, got {json_type(value)}"
    return str(item["msg"])


def _number(limit: float) -> float:
    return int(limit) if limit == int(limit) else limit


def _many(value: JSON) -> str:
    return "object" if isinstance(value, dict) else "array"


def _items(value: JSON) -> str:
    return "properties" if isinstance(value, dict) else "items"


def json_type(value: JSON) -> str:
    """Return the name of a decoded value's type, as APISIX's validator (written in Lua) says it."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list() | tuple() | dict():
            return "table"
    return type(value).__name__
