"""The embedded store between processes: killed writers, watching readers, file modes."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi.config.sqlite import HISTORY, SQLiteStore, path_of
from pingsix_asgi.config.store import Compacted, Put
from pingsix_asgi.errors import ConfigError, SourceError

WRITER = """
import asyncio, sys
from pingsix_asgi.config.sqlite import SQLiteStore
from pingsix_asgi.config.store import Put

async def main():
    store = SQLiteStore(sys.argv[1])
    number = 0
    while True:
        number += 1
        keys = [Put(f"/apisix/routes/{half}", str(number).encode()) for half in "ab"]
        await store.commit(keys)
        print(number, flush=True)

asyncio.run(main())
"""
WATCHER = """
import asyncio, sys, time
from pingsix_asgi.config.sqlite import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    listing = await store.list("/apisix/")
    async for batch in store.watch("/apisix/", listing.revision + 1):
        print(time.monotonic(), len(batch.events), flush=True)

asyncio.run(main())
"""

LOCKED = """
import fcntl, os, sys

SHARED = 0x40000002  # where SQLite locks its file
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, SHARED)
    except OSError:
        sys.exit(0)
sys.exit(1)
"""
OPENER = """
import asyncio, sys
from pingsix_asgi.config.sqlite import SQLiteStore
from pingsix_asgi.config.store import Put

async def write():
    for _ in range(10):
        store = SQLiteStore(sys.argv[1])
        await store.commit([Put("/apisix/routes/1", b"x")])
        await store.list("/apisix/")
        await store.aclose()

async def main():
    await asyncio.gather(*(write() for _ in range(3)))
    print("done")

asyncio.run(main())
"""


def spawn(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    )


async def test_acknowledged_writes_survive_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    reader = SQLiteStore(path)
    for _ in range(5):
        writer = spawn(WRITER, path)
        assert writer.stdout is not None
        acknowledged = 0
        for _ in range(20):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
        writer.wait()
        writer.stdout.close()
        items = (await reader.list("/apisix/routes/")).items
        values = {int(item.value) for item in items}
        assert len(values) == 1, "a transaction was applied by halves"
        assert values.pop() in (acknowledged, acknowledged + 1)
        await reader.commit([Put("/apisix/after", b"")])
    await reader.aclose()


async def test_other_processes_see_a_change_soon(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SQLiteStore(path)
    await store.commit([Put("/apisix/routes/0", b"")])
    watchers = [spawn(WATCHER, path) for _ in range(3)]
    try:
        for watcher in watchers:
            assert watcher.stdout is not None
            watcher.stdout.readline()
        delays = []
        for number in range(7):
            await store.commit([Put(f"/apisix/routes/{number}", b"")])
            written = time.monotonic()
            for watcher in watchers:
                assert watcher.stdout is not None
                seen, count = watcher.stdout.readline().split()
                assert count == "1"
                delays.append(float(seen) - written)
        delays.sort()
        assert delays[len(delays) // 4] < 0.2  # a busy machine may delay some
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.communicate()
        await store.aclose()


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "a" / "b" / "store.db")
    await store.commit([Put("/apisix/routes/1", b"secret")])
    for file in (tmp_path / "a" / "b").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    await store.aclose()


async def test_history_is_bounded(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.db")
    for _ in range(HISTORY + 5):
        await store.commit([Put("/apisix/routes/1", b"x")])
    with sqlite3.connect(tmp_path / "store.db") as db:
        assert db.execute("SELECT count(*) FROM history").fetchone() == (HISTORY,)
    db.close()
    async with aclosing(store.watch("/apisix/", 5)) as watch:
        with pytest.raises(Compacted):
            async for _ in watch:
                pass
    await store.aclose()


async def test_a_file_that_is_no_database_is_a_source_error(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database, " * 100)
    store = SQLiteStore(tmp_path / "store.db")
    with pytest.raises(SourceError, match=r"store\.db"):
        await store.list("/apisix/")
    await store.aclose()


async def test_a_lock_held_by_another_process_is_waited_for(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.db")
    await store.commit([Put("/apisix/routes/1", b"1")])
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    write = asyncio.create_task(store.commit([Put("/apisix/routes/1", b"2")]))
    await asyncio.sleep(0.1)
    assert not write.done()
    other.execute("COMMIT")
    other.close()
    assert await write == 2
    await store.aclose()


@pytest.mark.parametrize(
    ("code", "seen"), [(sqlite3.SQLITE_BUSY, "waited"), (sqlite3.SQLITE_CORRUPT, "raised")]
)
async def test_a_mode_that_others_are_setting_is_waited_for(
    code: int, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite answers at once, whatever its timeout, when two connections switch to WAL."""
    tries = []

    class Refusing(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            if "journal_mode" in sql and len(tries) < 3:
                tries.append(sql)
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = code
                raise error
            return super().execute(sql, parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", partial(connect, factory=Refusing))
    store = SQLiteStore(tmp_path / "store.db")
    if seen == "raised":
        with pytest.raises(SourceError, match="locked"):
            await store.list("/apisix/")
        assert len(tries) == 1
    else:
        assert (await store.list("/apisix/")).items == []
        assert len(tries) == 3
    await store.aclose()


async def test_opening_a_file_again_leaves_its_locks_alone(tmp_path: Path) -> None:
    """POSIX drops all locks of a process on a file when any of its descriptors is closed."""
    path = tmp_path / "store.db"
    first, second = SQLiteStore(path), SQLiteStore(path)
    await first.commit([Put("/apisix/routes/1", b"1")])
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN")
    holder.execute("SELECT * FROM items").fetchall()
    await second.list("/apisix/")
    locks = subprocess.run([sys.executable, "-c", LOCKED, str(path)], check=False)
    assert locks.returncode == 0, "the lock of the database file is gone"
    holder.close()
    await first.aclose()
    await second.aclose()


async def test_many_stores_opened_at_once_in_processes_and_threads(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    opened = [spawn(OPENER, path) for _ in range(4)]
    for opener in opened:
        output, _ = await asyncio.to_thread(opener.communicate, timeout=60)
        assert output == "done\n"
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT revision FROM state").fetchone() == (4 * 3 * 10,)
    db.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_without_permission_is_a_source_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    store = SQLiteStore(tmp_path / "store.db")
    with pytest.raises(SourceError):
        await store.list("/apisix/")
    await store.aclose()


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///a/b.db", "a/b.db"), ("sqlite:////var/lib/x.db", "/var/lib/x.db")],
)
def test_urls(url: str, path: str) -> None:
    assert path_of(url) == Path(path)


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite://x", "etcd:///x", "", "x.db"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError):
        path_of(url)
