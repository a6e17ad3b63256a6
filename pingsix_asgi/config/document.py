"""A configuration document: settings and resources in one, as PingSIX's config.yaml has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import InvalidConfig, SchemaError
from ..model.base import json_type
from ..model.resources import KINDS, Resources, parse_document
from ..settings import Settings, load_settings
from ..types import JSON

_SECTIONS = ("pingora", "pingsix")
_ID_FIELDS = {"consumers": "username"}
_CREDENTIALS = "/credentials/"


@dataclass(frozen=True, slots=True)
class Document:
    """A document taken apart."""

    settings: Settings
    resources: Resources


class InvalidDocument(InvalidConfig):
    """A document with faults of form or settings; ``resources`` are those that could be filed."""

    def __init__(self, errors: Sequence[SchemaError], resources: Resources) -> None:
        super().__init__(errors)
        self.resources = resources


def read_document(document: JSON) -> Document:
    """Take a document apart: the sections ``pingora`` and ``pingsix``, and a list per kind.

    Ids may be integers. Raises InvalidDocument for problems of the document's form or its settings,
    and tells those of the resources' fields with them. A document without the former is judged as
    a whole when its resources are compiled.
    """
    if document is None:
        document = {}
    if not isinstance(document, dict):
        text = f"wrong type: expected object, got {json_type(document)}"
        raise InvalidConfig([SchemaError(text, kind="configuration")])
    errors = [
        SchemaError(_unknown(str(key)), kind="configuration", path=str(key))
        for key in document
        if key not in _SECTIONS and key not in KINDS
    ]
    resources: dict[str, dict[str, JSON]] = {}
    for kind in KINDS:
        items = document.get(kind)
        if items is None:
            continue
        if not isinstance(items, list):
            text = f"wrong type: expected array, got {json_type(items)}"
            errors.append(SchemaError(text, kind=kind))
            continue
        for index, item in enumerate(items):
            _file(kind, index, item, resources, errors)
    try:
        settings = load_settings(document.get("pingsix"), document.get("pingora"))
    except InvalidConfig as error:
        errors = [*error.errors, *errors]
    if errors:
        raise InvalidDocument([*errors, *_field_errors(resources)], resources)
    return Document(settings, resources)


def _field_errors(resources: Resources) -> Iterator[SchemaError]:
    for kind, items in resources.items():
        for id, item in items.items():
            found = parse_document(kind, id, item)
            if isinstance(found, list):
                yield from found


def _unknown(key: str) -> str:
    if key == "stream_routes":
        return "stream_routes are not supported"
    return f"additional properties forbidden, found {key}"


def _file(
    kind: str,
    index: int,
    item: JSON,
    resources: dict[str, dict[str, JSON]],
    errors: list[SchemaError],
) -> None:
    """Put one item under its id."""
    if not isinstance(item, dict):
        text = f"wrong type: expected object, got {json_type(item)}"
        errors.append(SchemaError(text, kind=kind, path=str(index)))
        return
    field = _ID_FIELDS.get(kind, "id") if "id" not in item or kind != "consumers" else "id"
    id = item.get(field)
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        text = f'id_required: property "{field}" is required'
        errors.append(SchemaError(text, kind=kind, path=str(index)))
        return
    id = str(id)
    if kind == "consumers" and _CREDENTIALS in id:
        kind, id = "credentials", id.replace(_CREDENTIALS, "/", 1)
    filed = resources.setdefault(kind, {})
    if id in filed:
        errors.append(SchemaError(f"Duplicate {kind} ID found: {id}", kind=kind, id=id))
        return
    filed[id] = {**item, "id": id} if isinstance(item.get("id"), int) else item
