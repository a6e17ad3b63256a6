"""The contract of a store, run over every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from uuid import uuid4

import pytest

from pingsix_asgi.config.etcd import EtcdStore
from pingsix_asgi.config.etcd_client import EtcdClient, EtcdOptions
from pingsix_asgi.config.sqlite import SQLiteStore
from pingsix_asgi.config.store import (
    Batch,
    Compacted,
    Created,
    Delete,
    Modified,
    Put,
    Store,
    Unchanged,
)
from support.etcd_server import EtcdServer, etcd_binaries

KINDS = ["sqlite", *(f"etcd-{name}" for name in etcd_binaries())]


@pytest.fixture(scope="module", params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A way to open any number of stores over the same data."""
    folder: Path = tmp_path_factory.mktemp("store")
    if request.param == "sqlite":
        yield lambda prefix: SQLiteStore(folder / "sub" / "store.db", prefix)
        return
    server = EtcdServer(folder)
    server.command = etcd_binaries()[request.param.removeprefix("etcd-")]
    server.start()
    yield lambda prefix: EtcdStore(EtcdClient(EtcdOptions(endpoints=[server.url])), prefix)
    server.stop(kill=True)


@pytest.fixture
async def store(backend) -> AsyncIterator[Store]:
    store = backend(f"/{uuid4().hex}")
    yield store
    await store.aclose()


async def put(store: Store, key: str, value: bytes = b"v", **options) -> int:
    revision = await store.commit([Put(f"{store.prefix}/{key}", value, **options)])
    assert revision is not None
    return revision


async def collect(store: Store, revision: int, count: int) -> list[Batch]:
    """Return the batches with the first ``count`` events."""
    batches = []
    async with asyncio.timeout(10), aclosing(store.watch(f"{store.prefix}/", revision)) as watch:
        async for batch in watch:
            batches.append(batch)
            if sum(len(batch.events) for batch in batches) >= count:
                break
    return batches


async def test_an_empty_prefix_lists_as_empty(store: Store) -> None:
    assert list((await store.list(f"{store.prefix}/")).items) == []


async def test_items_carry_the_revisions_of_their_writes(store: Store) -> None:
    first = await put(store, "routes/1", b"one")
    second = await put(store, "routes/1", b"two")
    assert second > first
    item = await store.get(f"{store.prefix}/routes/1")
    assert item is not None
    assert (item.value, item.created, item.modified) == (b"two", first, second)
    listing = await store.list(f"{store.prefix}/")
    assert list(listing.items) == [item]
    assert listing.revision == second


async def test_a_missing_key_is_none(store: Store) -> None:
    assert await store.get(f"{store.prefix}/nothing") is None


async def test_a_prefix_does_not_take_in_its_neighbours(store: Store) -> None:
    for key in ("a/1", "a/2", "ab/1", "a", "b/1", "a0"):
        await put(store, key)
    keys = [item.key for item in (await store.list(f"{store.prefix}/a/")).items]
    assert keys == [f"{store.prefix}/a/1", f"{store.prefix}/a/2"]


async def test_bytes_come_back_as_they_were(store: Store) -> None:
    value = bytes(range(256)) + "ünï\u2028".encode()
    await put(store, "routes/ünï-\u4e2d", value)
    item = await store.get(f"{store.prefix}/routes/ünï-\u4e2d")
    assert item is not None
    assert item.value == value


async def test_a_list_of_many_pages_is_complete_and_sorted(store: Store) -> None:
    for start in range(0, 1203, 100):
        await store.commit(
            [
                Put(f"{store.prefix}/k/{number:05d}", b"x")
                for number in range(start, min(start + 100, 1203))
            ]
        )
    keys = [item.key for item in (await store.list(f"{store.prefix}/")).items]
    assert keys == [f"{store.prefix}/k/{number:05d}" for number in range(1203)]


async def test_create_succeeds_once(store: Store) -> None:
    key = f"{store.prefix}/routes/1"
    assert await store.commit([Put(key, b"1")], [Created(key, 0)]) is not None
    assert await store.commit([Put(key, b"2")], [Created(key, 0)]) is None
    item = await store.get(key)
    assert item is not None
    assert item.value == b"1"


async def test_update_needs_the_revision_that_was_read(store: Store) -> None:
    key = f"{store.prefix}/routes/1"
    first = await put(store, "routes/1")
    second = await store.commit([Put(key, b"2")], [Modified(key, first)])
    assert second is not None
    assert await store.commit([Put(key, b"3")], [Modified(key, first)]) is None
    assert await store.commit([Delete(key)], [Modified(key, first)]) is None
    assert await store.commit([Put(key, b"3")], [Created(key, first)]) is not None


async def test_a_key_created_again_is_another_one(store: Store) -> None:
    key = f"{store.prefix}/routes/1"
    first = await put(store, "routes/1")
    await store.commit([Delete(key)])
    await put(store, "routes/1")
    assert await store.commit([Delete(key)], [Created(key, first)]) is None


async def test_all_conditions_must_hold_and_nothing_is_done_by_halves(store: Store) -> None:
    a, b = f"{store.prefix}/a", f"{store.prefix}/b"
    revision = await put(store, "a")
    conditions = [Modified(a, revision), Created(b, 7)]
    assert await store.commit([Delete(a), Put(b, b"")], conditions) is None
    assert await store.get(a) is not None
    assert await store.get(b) is None


async def test_several_writes_share_a_revision(store: Store) -> None:
    await put(store, "a")
    revision = await store.commit(
        [Put(f"{store.prefix}/b", b""), Put(f"{store.prefix}/c", b""), Delete(f"{store.prefix}/a")]
    )
    listing = await store.list(f"{store.prefix}/")
    assert [item.modified for item in listing.items] == [revision, revision]
    assert listing.revision == revision


async def test_unchanged_notices_any_write_below_a_prefix(store: Store) -> None:
    await put(store, "routes/1")
    revision = (await store.list(f"{store.prefix}/")).revision
    condition = [Unchanged(f"{store.prefix}/routes/", revision)]
    target = f"{store.prefix}/upstreams/1"
    assert await store.commit([Put(target, b"")], condition) is not None
    await store.commit([Delete(target)])
    assert await store.commit([Put(target, b"")], condition) is not None
    await put(store, "routes/2")
    assert await store.commit([Put(target, b"")], condition) is None


async def test_unchanged_holds_for_an_empty_prefix(store: Store) -> None:
    condition = [Unchanged(f"{store.prefix}/routes/", 0)]
    assert await store.commit([Put(f"{store.prefix}/x", b"")], condition) is not None


async def test_a_watch_gives_history_then_news_in_order(store: Store) -> None:
    start = await put(store, "a", b"1")
    await put(store, "b", b"2")
    reader = asyncio.create_task(collect(store, start, 4))
    await store.commit([Delete(f"{store.prefix}/a")])
    last = await put(store, "c", b"3")
    batches = await reader
    events = [event for batch in batches for event in batch.events]
    names = [
        (event.key.removeprefix(store.prefix), event.item.value if event.item else None)
        for event in events
    ]
    assert names == [("/a", b"1"), ("/b", b"2"), ("/a", None), ("/c", b"3")]
    assert [event.revision for event in events] == sorted(event.revision for event in events)
    assert batches[-1].revision == last
    assert events[0].item is not None
    assert events[0].item.created == start


async def test_a_watch_sees_only_its_prefix(store: Store) -> None:
    start = await put(store, "a")
    await store.commit([Put(f"{store.prefix}-other/x", b"")])
    await put(store, "b")
    batches = await collect(store, start, 2)
    keys = [event.key for batch in batches for event in batch.events]
    assert keys == [f"{store.prefix}/a", f"{store.prefix}/b"]


async def test_a_watch_reports_contact_at_once(store: Store) -> None:
    revision = await put(store, "a")
    batches = await collect(store, revision + 1, 0)
    assert [len(batch.events) for batch in batches] == [0]


async def test_all_events_of_a_revision_come_together(store: Store) -> None:
    keys = [f"{store.prefix}/{number}" for number in range(100)]
    revision = await store.commit([Put(key, b"") for key in keys])
    assert revision is not None
    batches = [batch for batch in await collect(store, revision, 100) if batch.events]
    assert [len(batch.events) for batch in batches] == [100]


async def test_a_watch_from_lost_history_is_compacted(store: Store) -> None:
    first = await put(store, "a")
    await put(store, "a")
    last = await put(store, "a")
    await compact(store, last)
    with pytest.raises(Compacted):
        await collect(store, first, 1)
    assert (await collect(store, last + 1, 0))[0].revision == last


async def test_a_watch_from_the_future_is_compacted(store: Store) -> None:
    revision = await put(store, "a")
    with pytest.raises(Compacted):
        await collect(store, revision + 1000, 1)


async def test_a_key_with_a_ttl_goes_away_and_the_watch_says_so(store: Store) -> None:
    start = await put(store, "a", ttl_s=1)
    batches = await collect(store, start, 2)
    assert batches[-1].events[-1].item is None
    assert await store.get(f"{store.prefix}/a") is None


async def test_a_put_without_ttl_makes_a_key_stay(store: Store) -> None:
    await put(store, "a", ttl_s=1)
    await put(store, "a")
    start = await put(store, "witness", ttl_s=1)
    await collect(store, start, 2)
    assert await store.get(f"{store.prefix}/a") is not None


async def test_concurrent_increments_lose_nothing(backend, store: Store) -> None:
    key = f"{store.prefix}/n"
    await put(store, "n", b"0")

    async def work() -> None:
        mine = backend(store.prefix)
        for _ in range(10):
            while True:
                item = await mine.get(key)
                assert item is not None
                change = Put(key, str(int(item.value) + 1).encode())
                if await mine.commit([change], [Modified(key, item.modified)]):
                    break
        await mine.aclose()

    async with asyncio.timeout(50):
        await asyncio.gather(*(work() for _ in range(8)))
    item = await store.get(key)
    assert item is not None
    assert item.value == b"80"


async def test_two_stores_see_each_others_writes(backend, store: Store) -> None:
    other = backend(store.prefix)
    revision = await put(other, "a")
    assert (await store.list(f"{store.prefix}/")).revision == revision
    reader = asyncio.create_task(collect(store, revision + 1, 1))
    await put(other, "b")
    assert [event.key for event in (await reader)[-1].events] == [f"{store.prefix}/b"]
    await other.aclose()


async def test_a_closed_store_opens_again(store: Store) -> None:
    await put(store, "a")
    await store.aclose()
    assert await store.get(f"{store.prefix}/a") is not None


async def compact(store: Store, revision: int) -> None:
    if isinstance(store, SQLiteStore):
        await store.compact(revision)
    else:
        assert isinstance(store, EtcdStore)
        await store.client.call("kv/compaction", {"revision": str(revision)})
