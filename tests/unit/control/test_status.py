"""Readiness and the status listener, state by state."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from pingsix_asgi.control.status import Status, StatusApp
from pingsix_asgi.errors import SchemaError
from pingsix_asgi.testing import Client, FakeClock


@dataclass
class Store:
    is_connected: bool = True
    disconnected_at: float | None = None
    last_contact: float | None = None
    revision: int = 7
    awaits_publish: bool = False
    last_error: str | None = None
    foreign_keys: set[str] = field(default_factory=set)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def status(clock: FakeClock) -> Status:
    return Status(clock, source="etcd", store=Store())


async def ready(status: Status) -> tuple[int, Any]:
    answer = await Client(StatusApp(status)).get("/status/ready")
    assert answer.header("content-type") == "application/json"
    return answer.status, answer.json()


def refused(reason: str) -> tuple[int, Any]:
    return 503, {"status": "error", "reason": reason, "error": reason}


async def test_not_ready_before_the_first_publication(status: Status) -> None:
    assert await ready(status) == refused("not_initialized")


async def test_ready_with_a_configuration(status: Status) -> None:
    status.published(7, {"routes": 1}, ())
    assert await ready(status) == (200, {"status": "ok"})


async def test_a_bad_candidate_leaves_the_gateway_ready_but_degraded(status: Status) -> None:
    status.published(7, {"routes": 1}, ())
    status.rejected = "bad"
    assert (await ready(status))[0] == 200
    assert status.degraded() == "latest configuration candidate is invalid"
    assert status.report()["error_kind"] == "candidate_invalid"
    status.published(8, {}, ())
    assert status.degraded() is None


async def test_stale_after_so_many_seconds_without_contact(
    status: Status, clock: FakeClock
) -> None:
    status.published(7, {}, ())
    status.store = Store(is_connected=False, disconnected_at=clock.now, last_error="refused")
    clock.advance(300)
    assert await ready(status) == (200, {"status": "ok"})
    assert status.degraded() == "etcd disconnected"
    clock.advance(1)
    assert await ready(status) == refused("config_stale")
    assert status.degraded() == "configuration sync is stale"
    status.fail_when_stale = False
    assert await ready(status) == (200, {"status": "ok"})


async def test_a_file_is_never_stale(clock: FakeClock) -> None:
    status = Status(clock, source="yaml")
    status.published(1, {}, ())
    clock.advance(1e6)
    assert await ready(status) == (200, {"status": "ok"})


async def test_not_ready_between_reconnection_and_publication(status: Status) -> None:
    status.published(7, {}, ())
    status.store = Store(awaits_publish=True)
    assert await ready(status) == refused("awaiting_publish_after_reconnect")


async def test_not_ready_while_draining_but_alive(status: Status) -> None:
    status.published(7, {}, ())
    status.is_draining = True
    assert await ready(status) == refused("draining")
    for path in ("/status", "/status/live"):
        answer = await Client(StatusApp(status)).get(path)
        assert (answer.status, answer.json()) == (200, {"status": "ok"})


async def test_the_report_names_what_was_left_out(status: Status, clock: FakeClock) -> None:
    error = SchemaError("wrong", kind="routes", id="1", path="uri")
    status.published(6, {"routes": 2}, [error])
    status.store = Store(last_contact=clock.now - 2.5, foreign_keys={"/apisix/strange"})
    answer = await Client(StatusApp(status)).get("/status/config")
    assert answer.status == 200
    assert answer.json() == {
        "initialized": True,
        "ready": True,
        "draining": False,
        "config_source": "etcd",
        "observed_revision": 7,
        "published_revision": 6,
        "revision": 7,
        "connected": True,
        "degraded": True,
        "degraded_reason": "latest configuration candidate is invalid",
        "last_success_age_secs": 2.5,
        "error_kind": "candidate_invalid",
        "last_error": "routes/1: uri: wrong",
        "counts": {"routes": 2},
        "foreign_keys": ["/apisix/strange"],
        "health": [],
        "errors": [{"kind": "routes", "id": "1", "path": "uri", "message": "wrong"}],
    }


async def test_the_report_says_when_the_store_is_away(status: Status, clock: FakeClock) -> None:
    status.published(7, {}, ())
    status.store = Store(is_connected=False, disconnected_at=clock.now, last_error="refused")
    report = status.report()
    assert report["connected"] is False
    assert report["error_kind"] == "etcd_unavailable"
    assert report["last_error"] == "refused"


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [(None, None, 404), (None, "x", 404), ("k", None, 403), ("k", "other", 403), ("k", "k", 200)],
)
async def test_diagnostics_off_the_machine_need_a_key(
    status: Status, key: str | None, given: str | None, expected: int
) -> None:
    app = StatusApp(status, is_loopback=False, diagnostics_key=key)
    answer = await Client(app).get("/status/config", {"x-api-key": given} if given else {})
    assert answer.status == expected
    if expected != 200:
        assert answer.text == {403: "Forbidden", 404: "Not Found"}[expected]


async def test_other_paths_and_head(status: Status) -> None:
    client = Client(StatusApp(status))
    assert ((await client.get("/")).status, (await client.get("/")).text) == (404, "Not Found")
    head = await client.request("HEAD", "/status")
    assert (head.status, head.body) == (200, b"")
    assert head.header("content-length") == str(len(json.dumps({"status": "ok"})))


async def test_a_configuration_that_cannot_be_published_is_told(status: Status) -> None:
    status.published(7, {"routes": 1}, ())
    assert status.store is not None
    status.store.last_error = "ValueError: x"
    assert (await ready(status))[0] == 200
    report = status.report()
    assert (report["degraded"], report["error_kind"]) == (True, "candidate_invalid")
    assert report["last_error"] == "ValueError: x"
