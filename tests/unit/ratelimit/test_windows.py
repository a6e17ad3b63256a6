"""Windows and buckets against exact models, over every local store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pingsix_asgi.ratelimit.leaky import LeakyBucket
from pingsix_asgi.ratelimit.machine import SharedCounters, SharedGauges, SharedMarks
from pingsix_asgi.ratelimit.store import (
    Counters,
    Gauges,
    Marks,
    MemoryCounters,
    MemoryGauges,
    MemoryMarks,
)
from pingsix_asgi.ratelimit.windows import FixedWindow, SlidingWindow
from pingsix_asgi.shared.place import Place
from pingsix_asgi.shared.table import Table

STEPS = st.lists(st.tuples(st.floats(0, 30), st.sampled_from("ab"), st.integers(1, 3)), max_size=60)
RELAXED = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(params=["memory", "shared"])
def make_table(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[], Table | None]]:
    """Give a fresh empty table for shared stores, None for memory."""
    if request.param == "memory":
        yield lambda: None
        return
    place = Place(tmp_path)
    table = Table(place, "t")

    def make() -> Table:
        table.own.clear()
        return table

    yield make
    table.close()
    place.close()


def counters(table: Table | None) -> Counters:
    return MemoryCounters() if table is None else SharedCounters(table)


def marks(table: Table | None) -> Marks:
    return MemoryMarks() if table is None else SharedMarks(table)


def gauges(table: Table | None) -> Gauges:
    return MemoryGauges() if table is None else SharedGauges(table)


@RELAXED
@given(steps=STEPS)
def test_a_fixed_window_agrees_with_its_model(
    make_table: Callable[[], Table | None], steps: list[tuple[float, str, int]]
) -> None:
    window = FixedWindow(counters(make_table()))
    model: dict[str, tuple[float, int]] = {}
    now = 1000.0
    for pause, key, cost in steps:
        now += pause
        start, count = model.get(key, (-math.inf, 0))
        if now - start >= 60.0 - 1e-6:
            start, count = now, 0
        model[key] = (start, count + cost)
        remaining, reset_s = window.take(key, 10, 60, now, cost)
        assert remaining == 10 - count - cost
        assert reset_s == pytest.approx(start + 60 - now, abs=1e-6)


@RELAXED
@given(steps=STEPS)
def test_a_sliding_window_agrees_with_its_model(
    make_table: Callable[[], Table | None], steps: list[tuple[float, str, int]]
) -> None:
    window = SlidingWindow(counters(make_table()))
    admitted: dict[tuple[str, int], int] = {}
    now = 1000.0
    for pause, key, cost in steps:
        now += pause
        number = int(now // 20)
        left = (number + 1) * 20 - now
        before, current = admitted.get((key, number - 1), 0), admitted.get((key, number), 0)
        passes = before / 20 * left + current + cost <= 10
        remaining, reset_s = window.take(key, 10, 20, now, cost)
        assert (remaining >= 0) is passes
        assert 0 <= reset_s <= 20.01
        if passes:
            admitted[key, number] = current + cost


@RELAXED
@given(pauses=st.lists(st.floats(0, 3), max_size=60))
def test_a_leaky_bucket_agrees_with_apisixs_formula(
    make_table: Callable[[], Table | None], pauses: list[float]
) -> None:
    rate, burst = 2.0, 3.0
    bucket = LeakyBucket(marks(make_table()))
    excess, last, now = None, 0.0, 1000.0
    for pause in pauses:
        now += pause
        wanted = 0.0 if excess is None else max(excess - rate * (now - last) + 1, 0.0)
        if abs(wanted - burst) < 1e-6:
            continue  # rounding may decide either way
        early_s = bucket.take("k", rate, burst, now)
        if wanted > burst:
            assert early_s is None
            continue
        assert early_s == pytest.approx(wanted / rate, abs=1e-5)
        excess, last = wanted, now


def test_gauges_count_up_and_down(make_table: Callable[[], Table | None]) -> None:
    store = gauges(make_table())
    assert [store.enter("k", 0.0) for _ in range(3)] == [1, 2, 3]
    assert store.enter("other", 0.0) == 1
    for _ in range(3):
        store.leave("k")
    store.leave("k")
    assert store.enter("k", 0.0) == 1


def test_memory_is_bounded_and_the_oldest_give_way() -> None:
    store = MemoryCounters(max_keys=3)
    for key in "abcd":
        store.add(key, 1, 60, 0.0)
    assert [store.read(key, 1.0) for key in "abcd"] == [0, 1, 1, 1]
    moved = MemoryMarks(max_keys=2)
    for key in "abc":
        moved.move(key, 50.0)
    assert [moved.read(key, 1.0) for key in "abc"] == [1.0, 50.0, 50.0]


def test_memory_windows_end() -> None:
    store = MemoryCounters()
    store.add("k", 5, 10, 0.0)
    assert (store.read("k", 9.9), store.read("k", 10.0)) == (5, 0)
