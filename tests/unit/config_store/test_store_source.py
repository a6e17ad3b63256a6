"""The source over a scripted store: what is published when, and what status tells meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from pingsix_asgi.config.store import Batch, Compacted, Event, Item, Listing
from pingsix_asgi.config.watch import LONGEST_DELAY_S, StoreSource, jittered
from pingsix_asgi.errors import SchemaError, SourceError


class ScriptedStore:
    """Lists ``items``; watches deliver what is put into ``feed``, exceptions are raised."""

    prefix = "/apisix"
    name = "etcd"

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.revision = 1
        self.feed: asyncio.Queue[Batch | Exception] = asyncio.Queue()
        self.list_failures: list[Exception] = []
        self.lists = 0
        self.watched: list[int] = []
        self.is_closed = False
        self.woken = 0

    def set(self, key: str, value: Any) -> Event:
        self.revision += 1
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        item = Item(f"/apisix/{key}", raw, self.revision, self.revision)
        self.items[item.key] = item
        return Event(item.key, item, self.revision)

    def drop(self, key: str) -> Event:
        self.revision += 1
        del self.items[f"/apisix/{key}"]
        return Event(f"/apisix/{key}", None, self.revision)

    def send(self, *events: Event) -> None:
        self.feed.put_nowait(Batch(events, self.revision))

    async def list(self, prefix: str) -> Listing:
        assert prefix == "/apisix/"
        self.lists += 1
        if self.list_failures:
            raise self.list_failures.pop(0)
        return Listing(sorted(self.items.values(), key=lambda item: item.key), self.revision)

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        self.watched.append(revision)
        yield Batch((), revision - 1)
        while True:
            found = await self.feed.get()
            if isinstance(found, Exception):
                raise found
            yield found

    def wake(self) -> None:
        self.woken += 1

    async def aclose(self) -> None:
        self.is_closed = True

    async def get(self, key: str) -> Item | None:
        raise NotImplementedError

    async def commit(self, operations: Sequence[Any], conditions: Sequence[Any] = ()) -> int | None:
        raise NotImplementedError


class Gateway:
    """Records publications; ``errors`` are what the next ones report."""

    def __init__(self, store: ScriptedStore) -> None:
        self.published: list[tuple[Any, int]] = []
        self.errors: list[SchemaError] = []
        self.failure: Exception | None = None
        self.delays: list[int] = []
        self.source = StoreSource(store, delay=self.delay)
        self.wakes = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task

    def delay(self, attempt: int) -> float:
        self.delays.append(attempt)
        return 0.0

    async def publish(self, resources: Any, revision: int) -> list[SchemaError]:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self.published.append((resources, revision))
        self.wakes.set()
        return self.errors

    async def next(self) -> tuple[Any, int]:
        """Return the next publication; the first call starts the source."""
        if self.task is None:
            self.task = asyncio.create_task(self.source.run(self.publish))
        async with asyncio.timeout(5):
            await self.wakes.wait()
        self.wakes.clear()
        return self.published[-1]


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
async def gateway(store: ScriptedStore):
    gateway = Gateway(store)
    yield gateway
    await gateway.stop()
    assert store.is_closed


async def settled(condition) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("did not settle")


async def test_an_empty_store_is_published_as_empty(gateway: Gateway) -> None:
    assert await gateway.next() == ({}, 1)


async def test_load_reads_once(store: ScriptedStore) -> None:
    store.set("routes/1", {"uri": "/"})
    assert await StoreSource(store).load() == ({"routes": {"1": {"uri": "/"}}}, 2)


async def test_changes_are_published_in_order(store: ScriptedStore, gateway: Gateway) -> None:
    await gateway.next()
    store.send(store.set("routes/1", {"uri": "/a"}))
    assert await gateway.next() == ({"routes": {"1": {"uri": "/a"}}}, 2)
    store.send(store.set("routes/1", {"uri": "/b"}), store.set("upstreams/1", {}))
    assert await gateway.next() == ({"routes": {"1": {"uri": "/b"}}, "upstreams": {"1": {}}}, 4)
    store.send(store.drop("routes/1"))
    assert (await gateway.next())[0]["routes"] == {}


async def test_what_was_published_never_changes(store: ScriptedStore, gateway: Gateway) -> None:
    store.set("upstreams/1", {})
    first, _ = await gateway.next()
    store.send(store.set("routes/1", {"uri": "/a"}))
    second, _ = await gateway.next()
    store.send(store.set("routes/2", {"uri": "/b"}))
    third, _ = await gateway.next()
    assert "routes" not in first
    assert list(second["routes"]) == ["1"]
    assert third["routes"]["1"] is second["routes"]["1"]
    assert third["upstreams"] is first["upstreams"]


async def test_a_burst_is_published_once(store: ScriptedStore, gateway: Gateway) -> None:
    await gateway.next()
    for number in range(50):
        store.send(store.set(f"routes/{number}", {"uri": "/"}))
    resources, revision = await gateway.next()
    assert len(resources["routes"]) == 50
    assert revision == 51
    assert len(gateway.published) == 2


async def test_nothing_is_published_when_nothing_changed(
    store: ScriptedStore, gateway: Gateway
) -> None:
    store.set("routes/1", {"uri": "/a"})
    await gateway.next()
    store.send(store.set("routes/1", {"uri": "/a"}))
    store.send(store.set("gen_id", 1))
    store.send()
    await settled(lambda: gateway.source.status.revision == 4)
    assert len(gateway.published) == 1


async def test_garbage_is_handed_on_as_text_and_heals(
    store: ScriptedStore, gateway: Gateway
) -> None:
    store.set("routes/1", b"{not json")
    store.set("routes/2", {"uri": "/"})
    resources, _ = await gateway.next()
    assert resources["routes"] == {"1": "{not json", "2": {"uri": "/"}}
    store.send(store.set("routes/1", {"uri": "/a"}))
    resources, _ = await gateway.next()
    assert resources["routes"]["1"] == {"uri": "/a"}


async def test_placeholders_and_metadata_are_passed_over(
    store: ScriptedStore, gateway: Gateway
) -> None:
    for key in ("routes/", "routes/x", ".pingsix_graph_revision", "routes/.barrier"):
        store.set(key, b"init_dir")
    store.set("strange/1", {})
    store.set("routes/1/2", {})
    assert (await gateway.next())[0] == {}
    assert gateway.source.status.foreign_keys == {"/apisix/strange/1", "/apisix/routes/1/2"}


async def test_a_lost_watch_resumes_where_it_was(store: ScriptedStore, gateway: Gateway) -> None:
    await gateway.next()
    store.send(store.set("routes/1", {"uri": "/a"}))
    await gateway.next()
    store.feed.put_nowait(SourceError("gone"))
    await settled(lambda: len(store.watched) == 2)
    assert store.watched == [2, 3]
    assert store.lists == 1
    store.send(store.set("routes/2", {"uri": "/b"}))
    assert len((await gateway.next())[0]["routes"]) == 2


async def test_events_before_the_end_of_a_watch_count(
    store: ScriptedStore, gateway: Gateway
) -> None:
    await gateway.next()
    store.send(store.set("routes/1", {"uri": "/a"}))
    store.feed.put_nowait(SourceError("gone"))
    assert "1" in (await gateway.next())[0]["routes"]
    await settled(lambda: len(store.watched) == 2)
    assert store.watched == [2, 3]


async def test_compaction_lists_again_and_keeps_unchanged_documents(
    store: ScriptedStore, gateway: Gateway
) -> None:
    store.set("routes/1", {"uri": "/a"})
    before, _ = await gateway.next()
    store.set("routes/2", {"uri": "/b"})
    store.feed.put_nowait(Compacted("gone"))
    after, revision = await gateway.next()
    assert list(after["routes"]) == ["1", "2"]
    assert after["routes"]["1"] is before["routes"]["1"]
    assert revision == 3
    assert store.lists == 2
    assert not gateway.source.status.awaits_publish


async def test_a_restored_store_is_believed(store: ScriptedStore, gateway: Gateway) -> None:
    for _ in range(5):
        store.set("routes/1", {"uri": "/old"})
    await gateway.next()
    store.items.clear()
    store.revision = 5
    store.set("routes/1", {"uri": "/new"})
    store.feed.put_nowait(Compacted("went back"))
    resources, revision = await gateway.next()
    assert resources["routes"]["1"] == {"uri": "/new"}
    assert revision == 6
    await settled(lambda: len(store.watched) == 2)
    assert store.watched[-1] == 7


async def test_status_follows_the_connection(store: ScriptedStore, gateway: Gateway) -> None:
    store.list_failures = [SourceError("refused"), SourceError("refused")]
    status = gateway.source.status
    assert not status.is_connected
    first = asyncio.create_task(gateway.next())
    await settled(lambda: status.last_error is not None)
    assert not status.is_connected
    assert "refused" in str(status.last_error)
    await first
    await settled(lambda: not status.awaits_publish)
    assert status.is_connected
    assert (status.last_error, status.disconnected_at) == (None, None)
    assert status.revision == 1
    assert gateway.delays == [1, 2]


async def test_failures_in_a_row_are_counted_until_one_works(
    store: ScriptedStore, gateway: Gateway
) -> None:
    await gateway.next()
    store.list_failures = [SourceError("a"), SourceError("b")]
    store.feed.put_nowait(Compacted("c"))
    await gateway.next()
    await settled(lambda: len(store.watched) == 2)
    store.send()
    await settled(lambda: store.feed.empty())
    store.feed.put_nowait(SourceError("d"))
    await settled(lambda: len(store.watched) == 3)
    assert gateway.delays == [1, 2, 3, 1]


async def test_a_publication_that_raises_is_tried_again(
    store: ScriptedStore, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    await gateway.next()
    gateway.failure = RuntimeError("bug")
    store.send(store.set("routes/1", {"uri": "/a"}))
    assert "1" in (await gateway.next())[0]["routes"]
    assert "could not be published" in caplog.text


async def test_errors_of_resources_are_kept_for_status(
    store: ScriptedStore, gateway: Gateway
) -> None:
    gateway.errors = [SchemaError("bad", kind="routes", id="1")]
    await gateway.next()
    await settled(lambda: gateway.source.status.errors)
    gateway.errors = []
    store.send(store.set("routes/1", {"uri": "/a"}))
    await gateway.next()
    await settled(lambda: not gateway.source.status.errors)


def test_delays_double_vary_and_are_bounded() -> None:
    for attempt in range(1, 40):
        longest = min(LONGEST_DELAY_S, 0.1 * 2 ** (attempt - 1))
        delays = {jittered(attempt) for _ in range(20)}
        assert longest / 2 <= min(delays) < max(delays) <= longest


@pytest.mark.parametrize(("bad", "good"), [(True, 1), (1.0, 1), (False, 0)])
async def test_a_corrected_type_is_a_change(
    store: ScriptedStore, gateway: Gateway, bad: Any, good: Any
) -> None:
    store.set("routes/1", {"priority": bad})
    await gateway.next()
    store.send(store.set("routes/1", {"priority": good}))
    resources, _ = await gateway.next()
    assert json.dumps(resources["routes"]["1"]) == json.dumps({"priority": good})


async def test_who_wrote_waits_until_it_is_in_force() -> None:
    store = ScriptedStore()
    gateway = Gateway(store)
    await gateway.source.reach(5)  # out of reach: nobody waits
    await gateway.next()
    await gateway.source.reach(store.revision)
    assert store.woken == 0
    event = store.set("routes/1", {"uri": "/a"})
    waiting = asyncio.create_task(gateway.source.reach(store.revision))
    await asyncio.sleep(0)
    assert store.woken == 1
    assert not waiting.done()
    store.send(event)
    await asyncio.wait_for(waiting, 5)
    assert gateway.published[-1][1] == store.revision
    await gateway.stop()


async def test_a_writer_is_not_held_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pingsix_asgi.config.watch.IN_FORCE_S", 0.01)
    gateway = Gateway(ScriptedStore())
    await gateway.next()
    await asyncio.wait_for(gateway.source.reach(99), 5)
    await gateway.stop()
