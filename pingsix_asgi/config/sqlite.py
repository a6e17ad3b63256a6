"""A store in one SQLite file, shared by all processes of a machine.

Every write is one transaction that takes the next revision and leaves a row per key in the history,
which is what a watch reads. Writes are synced to disk before they are acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..errors import ConfigError, SourceError
from .store import (
    Batch,
    Compacted,
    Condition,
    Created,
    Delete,
    Event,
    Item,
    Listing,
    Modified,
    Operation,
)

T = TypeVar("T")

POLL_INTERVAL_S = 0.05
"""How often a watch looks for a new revision: one query of some 20 µs in a thread."""
HISTORY = 1000
"""Revisions a watch can go back; a process asleep for longer lists again."""
LOCK_TIMEOUT_S = 5.0
WAL_RETRY_S = 0.005
"""How long to wait for another process that is making the same file."""

_MAKING = threading.Lock()
"""Held while a file is made: until it is closed, no thread of this process may connect to it."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
INSERT INTO state SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM state);
CREATE TABLE IF NOT EXISTS items (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    expires_at REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_expiry ON items (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS history (
    revision INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB,
    created INTEGER NOT NULL,
    PRIMARY KEY (revision, key)
) WITHOUT ROWID;
"""


def path_of(url: str) -> Path:
    """Return the file of ``sqlite:///relative`` or ``sqlite:////absolute``. Raises ConfigError."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path:
        raise ConfigError(f"store: expected sqlite:///path, found {url!r}")
    return Path(path)


class SQLiteStore:
    """Keys in the file ``path``, which is made, readable by its owner only, on first use."""

    name = "sqlite"

    def __init__(self, path: str | os.PathLike[str], prefix: str = "/apisix") -> None:
        self.prefix = prefix.rstrip("/")
        self._path = Path(path)
        self._woken = asyncio.Event()
        self._thread: ThreadPoolExecutor | None = None
        self._database: _Database | None = None

    async def list(self, prefix: str) -> Listing:
        """Return all items under ``prefix``."""
        return await self._run(lambda database: database.list(prefix))

    async def get(self, key: str) -> Item | None:
        """Return one item."""
        return await self._run(lambda database: database.get(key))

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int | None:
        """Apply all operations in one transaction; never Ambiguous."""
        return await self._run(lambda database: database.commit(operations, conditions))

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        """Yield new history, looking for it every ``POLL_INTERVAL_S``."""
        yield Batch((), revision - 1)
        while True:
            batch = await self._run(partial(_Database.since, prefix=prefix, revision=revision))
            if batch is not None:
                revision = batch.revision + 1
                yield batch
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await self._woken.wait()
            self._woken.clear()

    def wake(self) -> None:
        """Let the watch look at once."""
        self._woken.set()

    async def compact(self, revision: int) -> None:
        """Forget history up to and including ``revision``."""
        await self._run(lambda database: database.compact(revision))

    async def aclose(self) -> None:
        """Close the file."""
        if self._thread is None:
            return
        if self._database is not None:
            await self._run(lambda database: database.close())
            self._database = None
        self._thread.shutdown()
        self._thread = None

    async def _run(self, work: Callable[[_Database], T]) -> T:
        """Run ``work`` in this store's thread, the only one that touches its connection."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="pingsix-sqlite")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, work)

    def _call(self, work: Callable[[_Database], T]) -> T:
        try:
            if self._database is None:
                self._database = _Database(self._path)
            return work(self._database)
        except (sqlite3.Error, OSError) as error:
            raise SourceError(f"sqlite: {self._path}: {error}") from error


class _Database:
    """The blocking half: one connection, used by one thread."""

    def __init__(self, path: Path) -> None:
        _make(path)
        self._db = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        _use_wal(self._db)
        self._db.execute("PRAGMA synchronous = FULL")
        with _Transaction(self._db):
            for statement in _SCHEMA.strip().split(";\n"):
                self._db.execute(statement)

    def list(self, prefix: str) -> Listing:
        """Return items and revision from one read transaction."""
        self._expire()
        with _Transaction(self._db, "DEFERRED"):
            rows = self._db.execute(
                "SELECT key, value, created, modified FROM items"
                " WHERE key >= ? AND key < ? ORDER BY key",
                (prefix, _end(prefix)),
            )
            return Listing([Item(*row) for row in rows], self._revision())

    def get(self, key: str) -> Item | None:
        """Return one item."""
        self._expire()
        row = self._item(key)
        return Item(*row) if row else None

    def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition]
    ) -> int | None:
        """Check and write under one write lock."""
        self._expire()
        with _Transaction(self._db):
            if not all(self._holds(condition) for condition in conditions):
                return None
            revision = self._revision() + 1
            changed = [self._apply(operation, revision) for operation in operations]
            if any(changed):
                self._advance(revision)
            return self._revision()

    def since(self, prefix: str, revision: int) -> Batch | None:
        """Return the events from ``revision`` on, or None. Raises Compacted."""
        self._expire()
        reached = self._revision()
        if reached == revision - 1:
            return None
        with _Transaction(self._db, "DEFERRED"):
            reached, compacted = self._db.execute(
                "SELECT revision, compacted FROM state"
            ).fetchone()
            if revision <= compacted or revision > reached + 1:
                raise Compacted(f"sqlite: history holds revisions {compacted + 1} to {reached}")
            rows = self._db.execute(
                "SELECT revision, key, value, created FROM history"
                " WHERE revision >= ? AND key >= ? AND key < ? ORDER BY revision, key",
                (revision, prefix, _end(prefix)),
            ).fetchall()
        return Batch([_event(*row) for row in rows], reached)

    def compact(self, revision: int) -> None:
        """Drop history and remember that it is gone."""
        with _Transaction(self._db):
            self._db.execute("UPDATE state SET compacted = max(compacted, ?)", (revision,))
            self._db.execute("DELETE FROM history WHERE revision <= ?", (revision,))

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _revision(self) -> int:
        return int(self._db.execute("SELECT revision FROM state").fetchone()[0])

    def _item(self, key: str) -> tuple[str, bytes, int, int] | None:
        row: tuple[str, bytes, int, int] | None = self._db.execute(
            "SELECT key, value, created, modified FROM items WHERE key = ?", (key,)
        ).fetchone()
        return row

    def _holds(self, condition: Condition) -> bool:
        if isinstance(condition, Created | Modified):
            row = self._item(condition.key)
            found = row[2 if isinstance(condition, Created) else 3] if row else 0
            return found == condition.revision
        newer = self._db.execute(
            "SELECT 1 FROM items WHERE key >= ? AND key < ? AND modified > ? LIMIT 1",
            (condition.prefix, _end(condition.prefix), condition.revision),
        ).fetchone()
        return newer is None

    def _apply(self, operation: Operation, revision: int) -> bool:
        """Write one key and its history; False when a key to delete is not there."""
        row = self._item(operation.key)
        if isinstance(operation, Delete):
            if row is None:
                return False
            self._db.execute("DELETE FROM items WHERE key = ?", (operation.key,))
            self._record(revision, operation.key, None, 0)
            return True
        created = row[2] if row else revision
        expires_at = None if operation.ttl_s is None else time.time() + operation.ttl_s
        self._db.execute(
            "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?)",
            (operation.key, operation.value, created, revision, expires_at),
        )
        self._record(revision, operation.key, operation.value, created)
        return True

    def _record(self, revision: int, key: str, value: bytes | None, created: int) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?)", (revision, key, value, created)
        )

    def _advance(self, revision: int) -> None:
        forgotten = revision - HISTORY
        self._db.execute(
            "UPDATE state SET revision = ?, compacted = max(compacted, ?)", (revision, forgotten)
        )
        self._db.execute("DELETE FROM history WHERE revision <= ?", (forgotten,))

    def _expire(self) -> None:
        """Delete what is past its time; whichever process looks first does it for all."""
        due = "FROM items WHERE expires_at <= ?"
        now = time.time()
        if self._db.execute(f"SELECT 1 {due} LIMIT 1", (now,)).fetchone() is None:
            return
        with _Transaction(self._db):
            keys = [key for (key,) in self._db.execute(f"SELECT key {due}", (now,))]
            if keys:
                revision = self._revision() + 1
                for key in keys:
                    self._apply(Delete(key), revision)
                self._advance(revision)


class _Transaction:
    """BEGIN, then COMMIT or ROLLBACK; IMMEDIATE takes the write lock at once."""

    def __init__(self, db: sqlite3.Connection, mode: str = "IMMEDIATE") -> None:
        self._db, self._mode = db, mode

    def __enter__(self) -> None:
        self._db.execute(f"BEGIN {self._mode}")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:  # after some errors SQLite has rolled back already
                self._db.execute("ROLLBACK")


def _make(path: Path) -> None:
    """Make an empty file unless there is one.

    The values hold keys and passwords: never readable by others, not even for a moment. A file that
    is there is not opened: closing it would drop the locks of every other connection of this
    process to it (POSIX), and two writers at once ruin it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _MAKING, suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _use_wal(db: sqlite3.Connection) -> None:
    """Set the journal mode, which is kept in the file.

    SQLite does not wait for other connections here, whatever its timeout: of several that open a
    new file at once, all but one may be told that it is locked.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(WAL_RETRY_S)


def _end(prefix: str) -> str:
    """Return a text that sorts after every key that starts with ``prefix``."""
    return prefix + "\U0010ffff"


def _event(revision: int, key: str, value: bytes | None, created: int) -> Event:
    item = None if value is None else Item(key, value, created, revision)
    return Event(key, item, revision)
