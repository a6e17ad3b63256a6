"""Judge a file before anything of it is written, so that a fault in it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import InvalidConfig, SchemaError
from ..model.resources import check_references, references
from ..plugin.registry import Registry
from ..secrets.fields import REDACTED
from ..snapshot.check import check_document
from .admin_client import ORDER, AdminClient, AdminError, Documents

_NOT_SERVED = (401, 403, 404, 405)
"""Answers of a server that does not validate, or not for a viewer."""


def judge(client: AdminClient, current: Documents, wanted: Documents, *, is_pruned: bool) -> None:
    """Raise InvalidConfig that names every resource of a file the server would refuse.

    The server is asked, which has its own plugins; one that does not validate is spared, and the
    plugins of this installation are taken. ``current`` is what it holds of the file's kinds. What
    would only clash with another resource is told by the server when it is written.
    """
    given = {kind: dict(_given(kind, wanted[kind], current.get(kind, {}))) for kind in wanted}
    errors = _asked(client, given)
    if errors is None:
        registry = Registry()
        errors = [
            error
            for kind, documents in given.items()
            for id, document in documents.items()
            for error in check_document(kind, id, document, registry)
        ]
    after = {
        kind: documents if is_pruned else {**current.get(kind, {}), **documents}
        for kind, documents in wanted.items()
    }
    errors += _missing(client, wanted, after)
    if errors:
        raise InvalidConfig(errors)


def _asked(client: AdminClient, given: Documents) -> list[SchemaError] | None:
    sections = {
        kind: [
            # An id of its own has a consumer's credential only below that consumer.
            document if kind in ("consumers", "credentials") else {"id": id, **document}
            for id, document in documents.items()
        ]
        for kind, documents in given.items()
        if documents
    }
    if not sections:
        return []
    try:
        client.validate(sections)
    except AdminError as error:
        told = error.errors
        if error.status in _NOT_SERVED or (error.status == 400 and not told):
            return None
        if error.status != 400:
            raise
        return [_error(one, given) for one in told]
    return []


def _error(told: dict[str, Any], given: Documents) -> SchemaError:
    kind, index = str(told.get("resource_type")), told.get("index")
    ids = list(given.get(kind, ()))
    if isinstance(index, int) and index < len(ids):
        id = ids[index]
    else:
        id = str(told.get("resource_id") or "")
    place = f"invalid {kind} at index {told.get('index')}, err: "
    return SchemaError(str(told.get("error")).removeprefix(place), kind=kind, id=id)


def _given(
    kind: str, documents: dict[str, Any], current: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what can be judged: a certificate whose key only the server has cannot."""
    for id, document in documents.items():
        if kind != "ssls" or id not in current or document.get("key") not in (None, REDACTED):
            yield id, document


def _missing(client: AdminClient, wanted: Documents, after: Documents) -> list[SchemaError]:
    """Find references to what will not be there, with kinds the file leaves alone as they are."""
    named = {
        found.kind
        for kind, documents in wanted.items()
        for id, document in documents.items()
        for found in references(kind, id, document)
    }
    others = [kind for kind in ORDER if kind in named and kind not in after]
    resources = {**after, **client.documents(others)}
    return [
        error
        for kind, documents in wanted.items()
        for id, document in documents.items()
        for error in check_references(resources, kind, id, document, in_plugins=True)
    ]
