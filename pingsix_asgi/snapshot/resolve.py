"""Documents with secrets decrypted and references resolved; others stay the same objects."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import SchemaError
from ..model.base import parse
from ..model.resources import Resources
from ..model.secret import Vault as VaultModel
from ..secrets.references import References, SecretManager, find_references
from ..secrets.unseal import Unsealer
from ..secrets.vault import Vault
from ..types import JSON
from .diff import is_same, other_objects

_NOTHING: Mapping[str, JSON] = {}


class Resolved:
    """The last set of documents, raw and resolved, so that the next pays only for what changed."""

    def __init__(self, references: References, unsealer: Unsealer | None = None) -> None:
        """``unsealer`` None: documents hold nothing encrypted."""
        self._references = references
        self._unsealer = unsealer
        self._raw: Resources = {}
        self._done: dict[str, Mapping[str, JSON]] = {}
        self._referring: dict[str, dict[str, JSON]] = {}
        """Resolved documents that hold references, by kind and id."""

    @property
    def errors(self) -> list[SchemaError]:
        """What could not be decrypted in the last set; its version before is in force."""
        return self._unsealer.errors if self._unsealer is not None else []

    @property
    def has_references(self) -> bool:
        """Something in the last set is kept elsewhere, and may change there."""
        return any(self._referring.values())

    async def update(self, resources: Resources) -> Resources:
        """Return the resources in plain text, ``$env://`` and ``$secret://`` replaced by values.

        What cannot be resolved stays as text. Kinds without references are returned as they are.
        """
        if self._unsealer is not None:
            resources = await self._unsealer.open(resources)
        done: dict[str, Mapping[str, JSON]] = {}
        referring: dict[str, dict[str, JSON]] = {}
        managers: dict[str, SecretManager] = {}
        for kind in ("secrets", *(kind for kind in resources if kind != "secrets")):
            documents = resources.get(kind) or _NOTHING
            ids = self._with_references(kind, documents)
            wanted = (found for id in ids for found in find_references(documents[id]))
            await self._references.fetch(wanted, managers)
            referring[kind] = {
                id: await self._document(kind, id, documents[id], managers) for id in ids
            }
            done[kind] = self._merged(kind, documents, referring[kind])
            if kind == "secrets":
                managers = _managers(done[kind])
        self._raw, self._done, self._referring = resources, done, referring
        return done

    def _with_references(self, kind: str, documents: Mapping[str, JSON]) -> list[str]:
        known = self._referring.get(kind, {})
        looked_at = dict.fromkeys(other_objects(self._raw.get(kind) or _NOTHING, documents))
        return [
            *(id for id in known if id in documents and id not in looked_at),
            *(id for id in looked_at if next(find_references(documents[id]), None) is not None),
        ]

    async def _document(
        self, kind: str, id: str, document: JSON, managers: Mapping[str, SecretManager]
    ) -> JSON:
        resolved = await self._references.resolve(document, managers)
        before = self._referring.get(kind, {}).get(id)
        return before if before is not None and is_same(before, resolved) else resolved

    def _merged(
        self, kind: str, documents: Mapping[str, JSON], referring: dict[str, JSON]
    ) -> Mapping[str, JSON]:
        if not referring:
            return documents
        before = self._referring.get(kind, {})
        is_unchanged = documents is self._raw.get(kind) and all(
            before.get(id) is document for id, document in referring.items()
        )
        return self._done[kind] if is_unchanged else {**documents, **referring}


def _managers(documents: Mapping[str, JSON]) -> dict[str, SecretManager]:
    """Return the secret managers by reference prefix; faulty ones are reported by the build."""
    managers: dict[str, SecretManager] = {}
    for id, document in documents.items():
        if not id.startswith("vault/"):
            continue
        try:
            model = parse(VaultModel, document)
        except SchemaError:
            continue
        managers[id] = Vault(
            uri=model.uri, prefix=model.prefix, token=model.token, namespace=model.namespace
        )
    return managers
