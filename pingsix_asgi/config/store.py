"""The contract of a store: revisioned keys with conditional writes and a watch.

It is the part of etcd's model that the gateway needs, so that etcd and the embedded store are
interchangeable: every write that changes something takes the next revision of the whole store,
and whoever lists at revision N and watches from N + 1 misses nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ..errors import SourceError


class Compacted(SourceError):
    """The history from the wanted revision is gone, or was never there: list again."""


class Ambiguous(SourceError):
    """The answer to a write was lost: it may or may not have been applied."""


@dataclass(frozen=True, slots=True)
class Item:
    """One key with its value; ``created`` and ``modified`` are revisions of the store."""

    key: str
    value: bytes
    created: int
    modified: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The items of a prefix, sorted by key, as they were at ``revision``."""

    items: Sequence[Item]
    revision: int


@dataclass(frozen=True, slots=True)
class Event:
    """A key was written (``item``) or deleted (``item`` is None) at ``revision``."""

    key: str
    item: Item | None
    revision: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in the order they happened; all of one revision are in one batch.

    Everything up to ``revision`` has been delivered. Without events it only shows that the store
    was reached.
    """

    events: Sequence[Event]
    revision: int


@dataclass(frozen=True, slots=True)
class Created:
    """Holds if ``key`` was created at ``revision``; 0: if it does not exist."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Modified:
    """Holds if ``key`` was last written at ``revision``; 0: if it does not exist."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Holds if no key under ``prefix`` was written after ``revision``; deletions do not count."""

    prefix: str
    revision: int


Condition: TypeAlias = Created | Modified | Unchanged


@dataclass(frozen=True, slots=True)
class Put:
    """Write ``key``; with ``ttl_s`` (whole seconds) it is deleted again after that time."""

    key: str
    value: bytes
    ttl_s: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete ``key`` if it is there."""

    key: str


Operation: TypeAlias = Put | Delete


class Store(Protocol):
    """Where resources are kept. Every method raises SourceError when the store is out of reach."""

    prefix: str
    """What all keys of the gateway start with, without a final slash."""
    name: str
    """What the status page calls this store: "etcd" or "sqlite"."""

    async def list(self, prefix: str) -> Listing:
        """Return all items whose key starts with ``prefix``, from one moment."""

    async def get(self, key: str) -> Item | None:
        """Return one item, not older than the last completed write."""

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int | None:
        """Apply all operations at one revision if all conditions hold.

        Returns that revision, or None when a condition failed and nothing was done. Raises
        Ambiguous when the answer was lost after the request was sent.
        """

    def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        """Yield what happens under ``prefix`` from ``revision`` on, until closed.

        The first batch comes at once and may be empty. Raises Compacted when the history is gone.
        """

    def wake(self) -> None:
        """Let a watch that looks from time to time look at once: there is something new."""

    async def aclose(self) -> None:
        """Close connections; watches end."""
