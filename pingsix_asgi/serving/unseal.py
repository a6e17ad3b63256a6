"""Secrets that a store keeps encrypted, opened before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import ConfigError, SchemaError
from ..model.resources import Resources
from ..plugin.registry import Registry
from ..secrets.fields import change_secrets
from ..types import JSON

if TYPE_CHECKING:
    from ..secrets.keyring import Keyring  # needs the extra "crypto"


class Unsealer:
    """Opens documents. One that did not change since the last time stays the same object."""

    def __init__(self, keyring: Keyring, registry: Registry) -> None:
        self._keyring = keyring
        self._registry = registry
        self._sealed: Resources = {}
        self._open: dict[str, dict[str, JSON]] = {}
        self._failed: dict[tuple[str, str], SchemaError] = {}

    def open(self, resources: Resources) -> tuple[Resources, list[SchemaError]]:
        """Return the resources with their secrets in plain text, and what could not be opened.

        A resource with such a secret is left out: its ciphertext must not pass for the secret.
        """
        before, self._sealed = self._sealed, resources
        opened, self._open = self._open, {}
        failed, self._failed = self._failed, {}
        for kind, documents in resources.items():
            known = before.get(kind, {})
            if documents is known:
                self._open[kind] = opened[kind]
                self._failed |= {at: error for at, error in failed.items() if at[0] == kind}
            else:
                self._open[kind] = self._kind(kind, documents, known, opened.get(kind, {}))
        return self._open, list(self._failed.values())

    def _kind(
        self,
        kind: str,
        documents: Mapping[str, JSON],
        known: Mapping[str, JSON],
        opened: Mapping[str, JSON],
    ) -> dict[str, JSON]:
        found = {}
        for id, document in documents.items():
            if id in opened and known.get(id) is document:
                found[id] = opened[id]
                continue
            try:
                found[id] = self._document(kind, document)
            except ConfigError as error:
                self._failed[kind, id] = SchemaError(str(error), kind=kind, id=id)
        return found

    def _document(self, kind: str, document: JSON) -> JSON:
        is_changed = False

        def change(path: object, value: str) -> str:
            nonlocal is_changed
            plain = self._keyring.decrypt(value)
            is_changed = is_changed or plain != value
            return plain

        plain = change_secrets(kind, document, self._registry, change)
        return plain if is_changed else document
