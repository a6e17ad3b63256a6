"""The cycle collector rests during loads, and large ones are left alone afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from pingsix_asgi.config.collector import BURST_S, LARGE, Collector


class FakeClock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize(("documents", "freezes"), [(1, False), (LARGE - 1, False), (LARGE, True)])
def test_only_large_loads_are_left_alone(documents: int, freezes: bool) -> None:
    with Collector(FakeClock()).resting(documents):
        assert not gc.isenabled()
    assert gc.isenabled()
    assert (gc.get_freeze_count() > 0) == freezes


@pytest.mark.parametrize(("pause_s", "freezes"), [(BURST_S / 2, True), (BURST_S * 2, False)])
def test_a_burst_counts_as_one_load(pause_s: float, freezes: bool) -> None:
    clock = FakeClock()
    collector = Collector(clock)
    for _ in range(5):
        with collector.resting(LARGE // 5):
            pass
        clock.now += pause_s
    assert (gc.get_freeze_count() > 0) == freezes


def test_nothing_changed_means_nothing_to_do() -> None:
    with Collector(FakeClock()).resting(0):
        assert gc.isenabled()


def test_a_collector_switched_off_by_the_user_stays_off() -> None:
    gc.disable()
    with Collector(FakeClock()).resting(LARGE):
        pass
    assert not gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_it_is_on_again_after_a_failure() -> None:
    with pytest.raises(RuntimeError), Collector(FakeClock()).resting(LARGE):
        raise RuntimeError
    assert gc.isenabled()
