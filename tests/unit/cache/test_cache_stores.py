"""Where responses are kept, the same suite for memory and disk."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from pingsix_asgi.cache.store import MAX_VARIANTS, DiskStore, Entry, MemoryStore
from pingsix_asgi.http.headers import Headers


def entry(body: bytes, vary: str = "") -> Entry:
    return Entry(200, [(b"x", b"\xe9")], body, 1.0, 0.5, 9.0, [("v", vary)] if vary else [])


@pytest.mark.parametrize("kind", ["memory", "disk"])
async def test_stores_find_by_headers_and_stay_within_their_limit(
    kind: str, tmp_path: Path
) -> None:
    store = MemoryStore(5000) if kind == "memory" else DiskStore(str(tmp_path), 5000)
    await store.save("k", entry(b"one\ntwo", "a"))
    await store.save("k", entry(b"\x00\xff", "b"))
    await store.save("k", entry(b"new", "a"))
    found = await store.find("k", Headers([(b"v", b"a")]))
    assert found is not None
    assert (found.body, found.headers, found.vary) == (b"new", [(b"x", b"\xe9")], [("v", "a")])
    other = await store.find("k", Headers([(b"v", b"b")]))
    assert other is not None
    assert other.body == b"\x00\xff"
    assert await store.find("k", Headers([])) is None
    for number in range(10):
        await store.save(f"big{number}", entry(bytes(1000)))
    kept = [await store.find(f"big{number}", Headers([])) for number in range(10)]
    assert kept[9] is not None
    assert sum(item is not None for item in kept) <= 5
    assert await store.purge("big9")
    assert not await store.purge("big9")


async def test_a_disk_store_is_shared_by_workers(tmp_path: Path) -> None:
    await DiskStore(str(tmp_path), 10**6).save("k", entry(b"body"))
    found = await DiskStore(str(tmp_path), 10**6).find("k", Headers([]))
    assert found is not None
    assert found.body == b"body"


@pytest.mark.parametrize("kind", ["memory", "disk"])
async def test_a_key_has_so_many_variants_and_no_more(kind: str, tmp_path: Path) -> None:
    store = MemoryStore(10**6) if kind == "memory" else DiskStore(str(tmp_path), 10**6)
    for number in range(MAX_VARIANTS + 1):
        await store.save("k", entry(b"body", str(number)))
    found = [
        await store.find("k", Headers([(b"v", b"%d" % number)]))
        for number in range(MAX_VARIANTS + 1)
    ]
    assert [item is not None for item in found] == [False] + [True] * MAX_VARIANTS


async def test_what_is_too_large_pushes_nothing_else_out() -> None:
    store = MemoryStore(1000)
    await store.save("k", entry(b"body"))
    await store.save("other", entry(bytes(1000)))
    assert await store.find("k", Headers([])) is not None
    assert await store.find("other", Headers([])) is None


@pytest.mark.parametrize("long", ["key", "vary", "headers"])
async def test_all_that_is_kept_in_memory_counts(long: str) -> None:
    store = MemoryStore(1_000_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(200):
            text = str(number) * 10_000
            kept = entry(b"body", text if long == "vary" else "")
            if long == "headers":
                kept.headers = [(b"%d" % part, b"%d" % number) for part in range(200)]
            await store.save(text if long == "key" else str(number), kept)
        assert tracemalloc.get_traced_memory()[0] - before < 1_100_000
    finally:
        tracemalloc.stop()


async def test_files_that_cannot_be_read_are_misses(tmp_path: Path) -> None:
    store = DiskStore(str(tmp_path), 10**6)
    await store.save("k", entry(b"body"))
    (path,) = (path for path in tmp_path.glob("??/*"))
    for content in (b"not json\n", b"{}\n", b'{"size": 1, "headers": [], "vary": []}\n'):
        path.write_bytes(content)
        assert await store.find("k", Headers([])) is None
    await store.save("k", entry(b"new"))
    found = await store.find("k", Headers([]))
    assert found is not None
    assert found.body == b"new"


async def test_the_directory_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await DiskStore(str(tmp_path), 10**6).save("k", entry(b"poison"))
    monkeypatch.setattr("os.getuid", lambda: tmp_path.stat().st_uid + 1)
    store = DiskStore(str(tmp_path), 10**6)
    assert await store.find("k", Headers([])) is None
    await store.save("k", entry(b"body"))
    assert await store.find("k", Headers([])) is None


async def test_a_disk_that_cannot_be_written_costs_nobody_an_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = DiskStore(str(tmp_path / "file" / "below"), 10**6)
    await store.save("k", entry(b"body"))
    assert await store.find("k", Headers([])) is None
    assert not await store.purge("k")
