"""The state machine of one node's health, against lua-resty-healthcheck's rules."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingsix_asgi.upstream.health.check import Thresholds
from pingsix_asgi.upstream.health.status import NodeHealth, Outcome

LIMITS = Thresholds(success=2, http_failure=3, tcp_failure=2, timeout_failure=1)
FAILURES: list[Outcome] = ["http_failure", "tcp_failure", "timeout_failure"]


def make_health(changed: Callable[[], None] = lambda: None) -> NodeHealth:
    return NodeHealth("node 10.0.0.1:80", changed)


def run(health: NodeHealth, *outcomes: Outcome) -> list[str]:
    states = []
    for outcome in outcomes:
        health.report(outcome, LIMITS)
        states.append(health.state)
    return states


def test_failures_of_one_sort_take_a_healthy_node_down() -> None:
    health = make_health()
    assert run(health, "http_failure", "http_failure") == ["mostly_healthy"] * 2
    assert health.is_healthy
    assert run(health, "http_failure") == ["unhealthy"]
    assert not health.is_healthy


@pytest.mark.parametrize(("outcome", "limit"), [("tcp_failure", 2), ("timeout_failure", 1)])
def test_each_sort_has_its_own_threshold(outcome: Outcome, limit: int) -> None:
    assert run(make_health(), *[outcome] * limit)[-1] == "unhealthy"


def test_sorts_are_not_added_up() -> None:
    health = make_health()
    assert run(health, "http_failure", "tcp_failure", "http_failure")[-1] == "mostly_healthy"
    assert health.counters["http_failure"] == 2
    assert health.counters["tcp_failure"] == 1


def test_a_success_clears_all_failures() -> None:
    health = make_health()
    run(health, "http_failure", "http_failure", "tcp_failure", "success")
    assert health.state == "mostly_healthy"
    assert health.counters == {
        "success": 1,
        "http_failure": 0,
        "tcp_failure": 0,
        "timeout_failure": 0,
    }
    assert run(health, "success") == ["healthy"]


def test_a_node_comes_back_by_successes_in_a_row() -> None:
    health = make_health()
    run(health, "timeout_failure")
    assert run(health, "success", "tcp_failure", "success") == ["mostly_unhealthy"] * 3
    assert not health.is_healthy
    assert run(health, "success") == ["healthy"]
    assert health.is_healthy


def test_nothing_is_counted_in_the_matching_full_state() -> None:
    health = make_health()
    run(health, "success", "success", "success")
    assert health.counters["success"] == 0
    run(health, "timeout_failure", "tcp_failure")
    assert health.counters["tcp_failure"] == 0


def test_a_threshold_of_0_disables_its_sort() -> None:
    health = make_health()
    for _ in range(300):
        health.report("tcp_failure", Thresholds(tcp_failure=0))
    assert health.state == "healthy"


def test_a_changed_verdict_is_logged_and_announced_once(caplog: pytest.LogCaptureFixture) -> None:
    changes: list[str] = []
    health = make_health(lambda: changes.append(health.state))
    with caplog.at_level(logging.INFO, "pingsix_asgi.health"):
        run(health, "tcp_failure", "tcp_failure", "tcp_failure", "success", "success")
    assert changes == ["unhealthy", "healthy"]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "node 10.0.0.1:80 is unhealthy: tcp_failure 2 times in a row"),
        ("INFO", "node 10.0.0.1:80 is healthy: success 2 times in a row"),
    ]


def test_reset_makes_it_healthy_and_forgets_the_counts() -> None:
    health = make_health()
    run(health, "timeout_failure", "success")
    health.reset()
    assert (health.state, health.is_healthy, set(health.counters.values())) == (
        "healthy",
        True,
        {0},
    )


@given(st.lists(st.sampled_from(["success", *FAILURES]), max_size=40))
@settings(deadline=None)
def test_the_verdict_follows_a_naive_reading_of_the_history(outcomes: list[Outcome]) -> None:
    health = make_health()
    is_up = True
    run_of = dict.fromkeys(["success", *FAILURES], 0)
    settled = True
    for outcome in outcomes:
        health.report(outcome, LIMITS)
        if settled and (outcome == "success") == is_up:
            continue
        run_of[outcome] += 1
        for other in run_of:
            if (outcome == "success") != (other == "success"):
                run_of[other] = 0
        settled = run_of[outcome] >= getattr(LIMITS, outcome)
        if settled:
            is_up = outcome == "success"
        assert health.is_healthy is is_up
