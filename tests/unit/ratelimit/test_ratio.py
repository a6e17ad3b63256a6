"""Circuits by the share of failures, in memory and shared by workers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi.ratelimit.machine import SharedCounters, SharedMarks
from pingsix_asgi.ratelimit.ratio import Limits, RatioCircuit
from pingsix_asgi.ratelimit.store import MemoryCounters, MemoryMarks
from pingsix_asgi.shared.place import Place
from pingsix_asgi.shared.table import Table

LIMITS = Limits(
    open_s=30, error_ratio=0.5, min_requests=4, window_s=100, probes=3, success_ratio=0.6
)


class Workers:
    """Workers that share a circuit and take turns."""

    def __init__(self, circuits: list[RatioCircuit]) -> None:
        self._turns = cycle(circuits)
        self.now = 1000.0

    def admits(self) -> bool:
        return next(self._turns).admits(self.now)

    def answer(self, *answers: str) -> None:
        for one in answers:
            is_failure, is_success = one == "bad", one == "good"
            next(self._turns).answered(self.now, is_failure=is_failure, is_success=is_success)


@pytest.fixture(params=[1, 3])
def workers(request: Any, tmp_path: Path) -> Iterator[Workers]:
    if request.param == 1:
        yield Workers([RatioCircuit("k", LIMITS, MemoryCounters(), MemoryMarks())])
        return
    places = [Place(tmp_path) for _ in range(request.param)]
    tables = [(Table(place, "counts"), Table(place, "marks")) for place in places]
    yield Workers(
        [RatioCircuit("k", LIMITS, SharedCounters(one), SharedMarks(two)) for one, two in tables]
    )
    for table in (table for pair in tables for table in pair):
        table.close()
    for place in places:
        place.close()


@pytest.mark.parametrize(
    ("answers", "opens"),
    [
        (["bad"] * 3, False),
        (["bad"] * 4, True),
        (["good", "bad", "good", "bad"], True),
        (["good", "good", "good", "bad", "good"], False),
        (["bad", "bad", "other", "other"], True),
        (["bad", "bad", "bad", "good"], True),
    ],
)
def test_it_opens_when_enough_of_enough_answers_failed(
    workers: Workers, answers: list[str], opens: bool
) -> None:
    workers.answer(*answers)
    assert workers.admits() is not opens


def test_what_is_older_than_the_window_does_not_count(workers: Workers) -> None:
    workers.answer("bad", "bad", "bad")
    workers.now += 100
    workers.answer("bad")
    assert workers.admits()
    workers.now += 50
    workers.answer("bad", "bad", "bad")
    assert not workers.admits()


@pytest.fixture
def probed(workers: Workers) -> Workers:
    """Workers whose circuit was open, and lets probes pass."""
    workers.answer(*["bad"] * 4)
    workers.now += 29.9
    assert not workers.admits()
    workers.answer("good", "good", "good")  # of requests that were under way: they say nothing
    workers.now += 0.1
    return workers


def test_so_many_probes_pass_and_no_more(probed: Workers) -> None:
    assert [probed.admits() for _ in range(5)] == [True] * 3 + [False] * 2
    probed.now += 30  # none was answered: others are let through
    assert probed.admits()


def test_probes_that_succeed_close_it_and_all_begins_anew(probed: Workers) -> None:
    probed.answer("good", "other", "good")
    assert [probed.admits() for _ in range(5)] == [True] * 5
    probed.answer("bad", "bad", "bad")
    assert probed.admits(), "the failures of before are forgotten"
    probed.answer("bad")
    assert not probed.admits()


@pytest.mark.parametrize("answers", [["good", "bad"], ["good", "other", "other"]])
def test_probes_that_do_not_open_it_again(probed: Workers, answers: list[str]) -> None:
    probed.answer(*answers)
    assert not probed.admits()
    probed.now += 29.9
    assert not probed.admits()
    probed.now += 0.1
    assert [probed.admits() for _ in range(4)] == [True] * 3 + [False]
    probed.answer("good", "good", "good")
    assert [probed.admits() for _ in range(5)] == [True] * 5
