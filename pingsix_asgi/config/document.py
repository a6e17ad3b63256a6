"""A configuration document: settings and resources in one, as PingSIX's config.yaml has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import InvalidConfig, SchemaError
from ..model.base import json_type
from ..model.resources import KINDS, Resources, parse_document
from ..settings import Settings, load_settings
from ..types import JSON

_FORM = "a configuration is a mapping of sections such as pingsix and routes"
_SECTIONS = ("pingora", "pingsix")
_ID_FIELDS = {"consumers": "username"}
_CREDENTIALS = "/credentials/"
_TELLING_IDS = ("plugin_metadata", "secrets")
"""Kinds whose id says what the rest means, so that without it nothing can be judged."""
_UNNAMED = "unnamed"


@dataclass(frozen=True, slots=True)
class Document:
    """A document taken apart."""

    settings: Settings
    resources: Resources


@dataclass(frozen=True, slots=True)
class Unfiled:
    """A resource that has no id, or that of another: it is named by its place in its section."""

    section: str
    index: int
    kind: str
    id: str
    """Its own, or one put in place of what is missing."""
    document: JSON

    def told(self, error: SchemaError) -> SchemaError:
        """Return an error of the resource, with its place."""
        path = f"{self.index}.{error.path}" if error.path else str(self.index)
        return SchemaError(error.message, kind=self.section, path=path, hint=error.hint)


class InvalidDocument(InvalidConfig):
    """A document with faults of form or settings; ``resources`` are those that could be filed."""

    def __init__(
        self, errors: Sequence[SchemaError], resources: Resources, unfiled: Sequence[Unfiled]
    ) -> None:
        super().__init__(errors)
        self.resources = resources
        self.unfiled = unfiled


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
        raise InvalidConfig([SchemaError(text, kind="configuration", hint=_FORM)])
    errors = [
        SchemaError(_unknown(str(key)), kind="configuration", path=str(key))
        for key in document
        if key not in _SECTIONS and key not in KINDS
    ]
    filed = _Filed(errors)
    for kind in KINDS:
        items = document.get(kind)
        if items is None:
            continue
        if not isinstance(items, list):
            text = f"wrong type: expected array, got {json_type(items)}"
            errors.append(SchemaError(text, kind=kind))
            continue
        for index, item in enumerate(items):
            filed.add(kind, index, item)
    try:
        settings = load_settings(document.get("pingsix"), document.get("pingora"))
    except InvalidConfig as error:
        errors = [*error.errors, *errors]
    if errors:
        found = [*errors, *_field_errors(filed)]
        raise InvalidDocument(found, filed.resources, filed.unfiled)
    return Document(settings, filed.resources)


def _field_errors(filed: _Filed) -> Iterator[SchemaError]:
    for kind, items in filed.resources.items():
        for id, item in items.items():
            found = parse_document(kind, id, item)
            if isinstance(found, list):
                yield from found
    for one in filed.unfiled:
        found = parse_document(one.kind, one.id, one.document)
        if isinstance(found, list):
            yield from map(one.told, found)


def _unknown(key: str) -> str:
    if key == "stream_routes":
        return "stream_routes are not supported"
    return f"additional properties forbidden, found {key}"


class _Filed:
    """Resources under their ids, those that have none of their own, and errors."""

    def __init__(self, errors: list[SchemaError]) -> None:
        self.resources: dict[str, dict[str, JSON]] = {}
        self.unfiled: list[Unfiled] = []
        self._errors = errors

    def add(self, section: str, index: int, item: JSON) -> None:
        """Put one item under its id."""
        if not isinstance(item, dict):
            text = f"wrong type: expected object, got {json_type(item)}"
            self._errors.append(SchemaError(text, kind=section, path=str(index)))
            return
        field = _ID_FIELDS.get(section, "id") if "id" not in item else "id"
        id = item.get(field)
        if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
            text = f'id_required: property "{field}" is required'
            self._errors.append(SchemaError(text, kind=section, path=str(index)))
            if section not in _TELLING_IDS:
                named = {**item, field: _UNNAMED}
                self.unfiled.append(Unfiled(section, index, section, _UNNAMED, named))
            return
        if isinstance(item.get("id"), int):
            item = {**item, "id": str(id)}
        kind, id = section, str(id)
        if kind == "consumers" and _CREDENTIALS in id:
            kind, id = "credentials", id.replace(_CREDENTIALS, "/", 1)
        filed = self.resources.setdefault(kind, {})
        if id in filed:
            text = f"Duplicate {kind} ID found: {id}"
            self._errors.append(SchemaError(text, kind=kind, id=id))
            self.unfiled.append(Unfiled(section, index, kind, id, item))
            return
        filed[id] = item
