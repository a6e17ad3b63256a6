"""Circuit breakers in memory, and shared by workers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.ratelimit.circuit import REMEMBERED_S, Circuits
from pingsix_asgi.ratelimit.machine import SharedCounters, SharedMarks
from pingsix_asgi.ratelimit.store import MemoryCounters, MemoryMarks
from pingsix_asgi.shared.place import Place
from pingsix_asgi.shared.table import Table


@pytest.fixture(params=[1, 3])
def workers(request: Any, tmp_path: Path) -> Iterator[Any]:
    """The circuits as the worker whose turn it is sees them."""
    if request.param == 1:
        yield cycle([Circuits(MemoryCounters(), MemoryMarks())])
        return
    places = [Place(tmp_path) for _ in range(request.param)]
    tables = [(Table(place, "counts"), Table(place, "marks")) for place in places]
    yield cycle([Circuits(SharedCounters(one), SharedMarks(two)) for one, two in tables])
    for one, two in tables:
        one.close()
        two.close()
    for place in places:
        place.close()


def test_it_opens_after_so_many_failures_for_a_time_that_doubles(workers: Any) -> None:
    now = 100.0
    for open_for in (2, 4, 8, 10, 10):
        for _ in range(3):
            assert not next(workers).is_open("k", now)
            next(workers).failed("k", now, 3, 10)
        assert next(workers).is_open("k", now)
        assert not next(workers).is_open("other", now)
        now += open_for
        assert next(workers).is_open("k", now - 0.01)
        assert not next(workers).is_open("k", now)


def test_successes_in_a_row_close_it_and_everything_begins_anew(workers: Any) -> None:
    for _ in range(2):
        next(workers).failed("k", 100.0, 2, 300)
    assert next(workers).is_open("k", 100.0)
    next(workers).succeeded("k", 103.0, 2)
    next(workers).failed("k", 103.0, 2, 300)  # not in a row
    next(workers).succeeded("k", 103.0, 2)
    assert not next(workers).is_open("k", 103.0)
    next(workers).failed("k", 103.0, 2, 300)
    assert next(workers).is_open("k", 106.9)
    for _ in range(2):
        next(workers).succeeded("k", 108.0, 2)
    next(workers).failed("k", 109.0, 2, 300)
    assert not next(workers).is_open("k", 109.0)
    next(workers).failed("k", 109.0, 2, 300)
    assert next(workers).is_open("k", 110.9)
    assert not next(workers).is_open("k", 111.0)


def test_a_circuit_is_forgotten_in_the_end(workers: Any) -> None:
    next(workers).failed("k", 100.0, 2, 300)
    next(workers).failed("k", 101.0 + REMEMBERED_S, 2, 300)
    assert not next(workers).is_open("k", 101.0 + REMEMBERED_S)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_as_a_plain_account_of_it(events: list[bool], failures: int, successes: int) -> None:
    circuits, now = Circuits(MemoryCounters(), MemoryMarks()), 100.0
    failed = succeeded = 0
    opened_until = 0.0
    for is_failure in events:
        assert circuits.is_open("k", now) == (now < opened_until)
        if is_failure:
            circuits.failed("k", now, failures, 300)
            failed, succeeded = failed + 1, 0
            if failed % failures == 0:
                opened_until = now + min(2 ** (failed // failures), 300)
        elif failed:
            circuits.succeeded("k", now, successes)
            succeeded += 1
            if succeeded == successes:
                failed, succeeded, opened_until = 0, 0, 0.0
        now += 1.0
