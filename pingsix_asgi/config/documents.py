"""The resources a store holds, kept up to date item by item.

A value that cannot be read is reported by id and the version before it stays in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ..errors import SchemaError
from ..types import JSON
from .layout import decode_json, is_placeholder, locate
from .source import Resources
from .store import Event, Item

DECODED_AT_ONCE = 100
"""Values decoded before requests in flight get their turn."""
REPORTED_KEYS = 20
"""Foreign keys remembered for the status page."""


class Documents:
    """Raw documents by kind and id. ``resources`` is replaced, never changed, by an update."""

    def __init__(self, prefix: str) -> None:
        self.resources: Resources = {}
        self.unreadable: dict[tuple[str, str], SchemaError] = {}
        """What is wrong with values that are not JSON objects."""
        self.foreign: set[str] = set()
        """Keys under the prefix that are no resources; the first few."""
        self._prefix = prefix
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}

    async def replace(self, items: Iterable[Item]) -> None:
        """Take over a new listing; documents that did not change stay the same objects."""
        before, unreadable, seen = self.resources, self.unreadable, self._seen
        self.unreadable, self._seen, self.foreign = {}, {}, set()
        resources: Resources = {}
        for number, item in enumerate(items):
            if number % DECODED_AT_ONCE == 0:
                await asyncio.sleep(0)
            where = self._place(item)
            if where is None:
                continue
            kind, id = where
            self._seen[where] = _version(item)
            document = before.get(kind, {}).get(id)
            if seen.get(where) != self._seen[where]:
                document = self._read(where, item.value, document)
            elif where in unreadable:
                self.unreadable[where] = unreadable[where]
            if document is not None:
                resources.setdefault(kind, {})[id] = document
        self.resources = resources

    async def apply(self, events: Iterable[Event]) -> bool:
        """Take over events in order; False when they changed no document and no report."""
        resources, reports = dict(self.resources), dict(self.unreadable)
        copied: set[str] = set()
        for number, event in enumerate(events):
            if number % DECODED_AT_ONCE == DECODED_AT_ONCE - 1:
                await asyncio.sleep(0)
            where = self._place(event.item or Item(event.key, b"", 0, 0))
            if where is None:
                continue
            kind, id = where
            if kind not in copied:
                resources[kind] = dict(resources.get(kind, {}))
                copied.add(kind)
            if event.item is None:
                resources[kind].pop(id, None)
                self.unreadable.pop(where, None)
                self._seen.pop(where, None)
                continue
            self._seen[where] = _version(event.item)
            document = self._read(where, event.item.value, resources[kind].get(id))
            if document is not None:
                resources[kind][id] = document
        is_changed = resources != self.resources or reports != self.unreadable
        if is_changed:
            self.resources = resources
        return is_changed

    def _place(self, item: Item) -> tuple[str, str] | None:
        if is_placeholder(item.value):
            return None
        try:
            return locate(item.key, self._prefix)
        except KeyError:
            if len(self.foreign) < REPORTED_KEYS:
                self.foreign.add(item.key)
            return None

    def _read(self, where: tuple[str, str], value: bytes, before: JSON) -> JSON:
        """Return the document of a value, or ``before`` when it cannot be read."""
        kind, id = where
        try:
            document = decode_json(value)
            if not isinstance(document, dict):
                raise ValueError("expected a JSON object")
        except ValueError as error:
            self.unreadable[where] = SchemaError(f"invalid value: {error}", kind=kind, id=id)
            return before
        self.unreadable.pop(where, None)
        return document


def _version(item: Item) -> tuple[int, int]:
    """Identify a value; the revision alone may repeat in a store that was restored."""
    return item.modified, hash(item.value)
