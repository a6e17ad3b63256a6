"""The resources a store holds, kept up to date item by item.

A value that is not a JSON object is handed on as its bare text. Like any other bad document it is
then reported by id by the build, which keeps the version before it in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from ..model.resources import Resources
from ..types import JSON
from .layout import decode_json, is_placeholder, locate
from .store import Event, Item

log = logging.getLogger("pingsix_asgi.config.documents")

DECODED_AT_ONCE = 100
"""Values decoded before requests in flight get their turn."""
REPORTED_KEYS = 20
"""Foreign keys remembered for the status page."""


class Documents:
    """Raw documents by kind and id. ``resources`` is replaced, never changed, by an update."""

    def __init__(self, prefix: str) -> None:
        self.resources: Resources = {}
        self.foreign: set[str] = set()
        """Keys under the prefix that are no resources; the first few."""
        self._prefix = prefix
        self._seen: dict[str, tuple[int, int]] = {}

    async def replace(self, items: Iterable[Item]) -> None:
        """Take over a new listing; documents that did not change stay the same objects."""
        before, seen = self.resources, self._seen
        self._seen, self.foreign = {}, set()
        resources: dict[str, dict[str, JSON]] = {}
        for number, item in enumerate(items):
            if number % DECODED_AT_ONCE == 0:
                await asyncio.sleep(0)
            where = self._place(item)
            if where is None:
                continue
            kind, id = where
            version = self._seen[item.key] = _version(item)
            is_known = seen.get(item.key) == version
            document = before[kind][id] if is_known else _read(item)
            resources.setdefault(kind, {})[id] = document
        self.resources = resources

    async def apply(self, events: Iterable[Event]) -> bool:
        """Take over events in order; False when they changed no document."""
        resources: dict[str, dict[str, JSON]] = {}
        is_changed = False
        for number, event in enumerate(events):
            if number % DECODED_AT_ONCE == DECODED_AT_ONCE - 1:
                await asyncio.sleep(0)
            where = self._place(event.item or Item(event.key, b"", 0, 0))
            if where is None:
                continue
            kind, id = where
            if kind not in resources:
                resources[kind] = dict(self.resources.get(kind, {}))
            documents = resources[kind]
            if event.item is None:
                is_changed |= id in documents
                documents.pop(id, None)
                self._seen.pop(event.key, None)
            else:
                document = _read(event.item)
                is_changed |= id not in documents or not is_same(documents[id], document)
                documents[id] = document
                self._seen[event.key] = _version(event.item)
        if is_changed:
            self.resources = {**self.resources, **resources}
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


def _read(item: Item) -> JSON:
    try:
        return decode_json(item.value)
    except ValueError as error:
        log.warning("%s holds no JSON: %s", item.key, error)
        return item.value.decode("utf-8", "replace")


def is_same(one: JSON, other: JSON) -> bool:
    """Tell whether two documents are the same JSON; to Python 1, 1.0 and true are equal."""
    return one == other and repr(one) == repr(other)


def _version(item: Item) -> tuple[int, int]:
    """Identify a value; the revision alone may repeat in a store that was restored."""
    return item.modified, hash(item.value)
