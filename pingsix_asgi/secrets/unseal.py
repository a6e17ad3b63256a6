"""Documents with their encrypted values in plain text, as they are compiled.

Our envelopes are opened wherever they are; APISIX's values, which have no mark, only in the fields
that are known to be secret. A document with a value that does not open stays as it was before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from ..errors import ConfigError, SchemaError
from ..model.resources import Resources
from ..plugin.registry import Registry
from ..types import JSON
from .fields import ENVELOPE, Path, change_secrets, texts

OPENED_AT_ONCE = 100
"""Documents looked at before requests in flight get their turn."""


class Opener(Protocol):
    """Decrypts single values: a Keyring."""

    def decrypt(self, value: str) -> str:
        """Return the plain text; of what is not encrypted, the value. Raises ConfigError."""


class Unsealer:
    """Opens sets of documents. One that did not change since the last time stays the same object.

    ``keyring`` None: encryption is off, and an envelope is an error.
    """

    def __init__(self, keyring: Opener | None, registry: Registry) -> None:
        self._keyring = keyring
        self._registry = registry
        self._sealed: Resources = {}
        self._open: dict[str, Mapping[str, JSON]] = {}
        self._failed: dict[tuple[str, str], SchemaError] = {}

    @property
    def errors(self) -> list[SchemaError]:
        """What could not be opened in the last set, each with the field."""
        return list(self._failed.values())

    async def open(self, resources: Resources) -> Resources:
        """Return the resources with secrets in plain text.

        Of a document that cannot be opened, the version before it is returned, or nothing: its
        ciphertext must not pass for the secret. As a key of ``ssls`` it cannot: those stay.
        """
        opened: dict[str, Mapping[str, JSON]] = {}
        failed: dict[tuple[str, str], SchemaError] = {}
        for kind, documents in resources.items():
            if documents is self._sealed.get(kind):
                opened[kind] = self._open[kind]
                failed |= {at: error for at, error in self._failed.items() if at[0] == kind}
            else:
                opened[kind] = await self._kind(kind, documents, failed)
        self._sealed, self._open, self._failed = resources, opened, failed
        return opened

    async def _kind(
        self,
        kind: str,
        documents: Mapping[str, JSON],
        failed: dict[tuple[str, str], SchemaError],
    ) -> Mapping[str, JSON]:
        known, before = self._sealed.get(kind, {}), self._open.get(kind, {})
        edited: dict[str, JSON] = {}
        looked_at = 0
        for id, document in documents.items():
            at = (kind, id)
            try:
                if id in known and known[id] is document:
                    if at in self._failed:
                        raise self._failed[at]
                    edited[id] = before[id]
                    continue
                looked_at += 1
                if looked_at % OPENED_AT_ONCE == 0:
                    await asyncio.sleep(0)
                edited[id] = self._document(kind, document)
            except SchemaError as error:
                failed[at] = SchemaError(error.message, kind=kind, id=id, path=error.path)
                if id in before:
                    edited[id] = before[id]
                elif kind == "ssls":  # does not load either, but is seen to demand clients' proof
                    edited[id] = document
        is_same = len(edited) == len(documents) and all(
            edited[id] is document for id, document in documents.items()
        )
        return documents if is_same else edited

    def _document(self, kind: str, document: JSON) -> JSON:
        opened: dict[Path, str] = {}
        for path, value in texts(document):
            if value.startswith(ENVELOPE):
                opened[path] = self._plain(path, value)
        if self._keyring is not None:

            def look(path: Path, value: str) -> str:
                if path not in opened:
                    plain = self._plain(path, value)
                    if plain != value:
                        opened[path] = plain
                return value

            change_secrets(kind, document, self._registry, look)
        return _replaced(document, opened, ()) if opened else document

    def _plain(self, path: Path, value: str) -> str:
        where = ".".join(map(str, path))
        if self._keyring is None:
            text = "the value is encrypted, and data_encryption is off"
            raise SchemaError(text, path=where)
        try:
            return self._keyring.decrypt(value)
        except ConfigError as error:
            raise SchemaError(str(error), path=where) from None


def _replaced(node: JSON, values: Mapping[Path, str], at: Path) -> JSON:
    if isinstance(node, dict):
        return {key: _replaced(value, values, (*at, key)) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(value, values, (*at, index)) for index, value in enumerate(node)]
    return values.get(at, node)
