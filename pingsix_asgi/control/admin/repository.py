"""Resources in a store as the Admin API sees them: located, decoded, secrets sealed or hidden."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ...config.layout import decode_json, encode_json, is_placeholder, key_of, locate
from ...config.store import Ambiguous, Condition, Delete, Item, Operation, Put, Store
from ...errors import ConfigError, SchemaError
from ...plugin.registry import Registry
from ...secrets.fields import (
    change_secrets,
    check_restored,
    encrypt,
    redact,
    restore,
    without_keys,
)
from ...types import JSON
from .defaults import completed
from .exchange import refused

T = TypeVar("T")

DELETED_AT_ONCE = 100
"""Keys deleted in one transaction: etcd takes 128 operations by default."""
SHOWN_AT_ONCE = 100
"""Documents decoded or shown before requests in flight get their turn."""


class Keyring(Protocol):
    """Encrypts and decrypts single values."""

    def encrypt(self, value: str) -> str:
        """Return the envelope of a value."""

    def decrypt(self, value: str) -> str:
        """Return the plain text of an envelope. Raises ConfigError."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource as it is in the store."""

    kind: str
    id: str
    item: Item

    @property
    def document(self) -> JSON:
        """What is stored, decoded; the bare text of what is not JSON.

        Decoded each time: thousands of documents kept at once are a burden to the cycle collector.
        """
        try:
            return decode_json(self.item.value)
        except ValueError:
            return self.item.value.decode("utf-8", "replace")


class Repository:
    """Access to the resources under a store's prefix."""

    def __init__(self, store: Store, registry: Registry, keyring: Keyring | None) -> None:
        self.store, self._registry, self._keyring = store, registry, keyring
        self.written = 0
        """The revision of the newest write that went through here."""

    def key(self, kind: str, id: str) -> str:
        """Return the key of a resource."""
        return key_of(kind, id, self.store.prefix)

    def folder(self, kind: str, parent: str = "") -> str:
        """Return the prefix of a kind's keys; credentials lie below a consumer."""
        if kind == "credentials":
            consumers = f"{self.store.prefix}/consumers/"
            return f"{consumers}{parent}/credentials/" if parent else consumers
        return f"{self.store.prefix}/{kind}/{parent}/" if parent else f"{self.store.prefix}/{kind}/"

    async def get(self, kind: str, id: str) -> Stored | None:
        """Return a resource, or None."""
        item = await self.store.get(self.key(kind, id))
        return None if item is None else Stored(kind, id, item)

    async def list(self, folder: str) -> tuple[list[Stored], int]:
        """Return all resources below a folder, whatever their kind, and the revision."""
        listing = await self.store.list(folder)
        found = []
        async for item in unhurried(listing.items):
            try:
                where = locate(item.key, self.store.prefix)
            except KeyError:
                continue
            if where is not None and not is_placeholder(item.value):
                found.append(Stored(*where, item))
        return found, listing.revision

    async def put(
        self,
        kind: str,
        id: str,
        document: JSON,
        conditions: Sequence[Condition],
        ttl_s: int | None = None,
    ) -> bool:
        """Write a document, its secrets sealed, if the conditions hold."""
        if self._keyring is not None:
            document = encrypt(kind, document, self._registry, self._keyring.encrypt)
        put = Put(self.key(kind, id), encode_json(document), ttl_s)
        try:
            return self._noted(await self.store.commit([put], conditions))
        except Ambiguous:
            item = await self.store.get(put.key)
            if item is not None and item.value == put.value:
                return True
            raise

    async def delete(self, keys: Sequence[str], conditions: Sequence[Condition]) -> bool:
        """Delete keys if the conditions hold; many in several steps, the last key in the last."""
        for start in range(0, len(keys), DELETED_AT_ONCE):
            part = keys[start : start + DELETED_AT_ONCE]
            operations: list[Operation] = [Delete(key) for key in part]
            try:
                if not self._noted(await self.store.commit(operations, conditions)):
                    return False
            except Ambiguous:
                if await self.store.get(part[0]) is not None:
                    raise
        return True

    def _noted(self, revision: int | None) -> bool:
        """Remember the revision of a write; False when it did not happen."""
        if revision is None:
            return False
        self.written = max(self.written, revision)
        return True

    def entry(self, stored: Stored, *, is_bare: bool = False) -> dict[str, Any]:
        """Return how a resource is shown; ``is_bare``: without defaults."""
        return {
            **self.shown(stored.kind, stored.id, stored.document, is_bare=is_bare),
            "createdIndex": stored.item.created,
            "modifiedIndex": stored.item.modified,
        }

    def shown(self, kind: str, id: str, document: JSON, *, is_bare: bool = False) -> dict[str, Any]:
        """Return the key and the value: secrets hidden when they are sealed in the store.

        Without encryption they are shown as they are stored, but for the keys of ``ssls``.
        Defaults are filled in as in APISIX, unless it is to be ``is_bare``.
        """
        if self._keyring is None:
            value = without_keys(kind, document)
        else:
            value = redact(kind, document, self._registry)
        if not is_bare:
            value = completed(kind, value, self._registry)
        return {"key": self.key(kind, id), "value": value}

    def restored(self, kind: str, document: JSON, before: Stored | None) -> JSON:
        """Put stored secrets back where a client sent the ``***`` it had been shown.

        Raises Refusal where that stands for none.
        """
        try:
            if before is not None:
                stored = self.opened(kind, before.document)
                document = restore(kind, document, stored, self._registry)
            if self._keyring is not None:
                check_restored(kind, document, self._registry)
        except SchemaError as error:
            raise refused(400, f"invalid configuration: {error}") from None
        return document

    def opened(self, kind: str, document: JSON) -> JSON:
        """Return a stored document with its secrets in plain text, as far as the keyring goes."""
        keyring = self._keyring
        if keyring is None:
            return document

        def change(path: object, value: str) -> str:
            try:
                return keyring.decrypt(value)
            except ConfigError:
                return value

        return change_secrets(kind, document, self._registry, change)


async def unhurried(items: Sequence[T]) -> AsyncIterator[T]:
    """Yield the items, giving requests in flight their turn now and then."""
    for number, item in enumerate(items):
        if number % SHOWN_AT_ONCE == SHOWN_AT_ONCE - 1:
            await asyncio.sleep(0)
        yield item
