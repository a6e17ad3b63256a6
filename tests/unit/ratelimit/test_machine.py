"""Workers of one machine that share limits: several places in one process, as processes would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi.middleware.limit_conn import LimitConn
from pingsix_asgi.middleware.limit_count import LimitCount
from pingsix_asgi.middleware.limit_req import LimitReq
from pingsix_asgi.ratelimit.machine import SharedCounters, SharedGauges, SharedMarks
from pingsix_asgi.shared.place import DIRECTORY_VARIABLE, Place
from pingsix_asgi.shared.table import Table
from pingsix_asgi.testing import Client, EchoApp, FakeClock, together


@pytest.fixture
def tables(tmp_path: Path) -> Any:
    places = [Place(tmp_path) for _ in range(3)]
    tables = [Table(place, "t") for place in places]
    yield tables
    for table in tables:
        table.close()
    for place in places:
        place.close()


def test_counts_of_all_workers_add_up_in_one_window(tables: list[Table]) -> None:
    stores = [SharedCounters(table) for table in tables]
    assert stores[0].add("k", 1, 60, 100.0) == (1, 160.0)
    assert stores[1].add("k", 2, 60, 110.0) == (3, 160.0)
    assert stores[2].add("other", 1, 60, 110.0) == (1, 170.0)
    assert stores[0].add("k", 1, 60, 120.0) == (4, 160.0)
    assert [store.read("k", 159.0) for store in stores] == [4, 4, 4]
    assert stores[2].add("k", 1, 60, 160.0) == (1, 220.0)
    assert stores[0].read("k", 160.0) == 1


def test_the_latest_mark_counts(tables: list[Table]) -> None:
    stores = [SharedMarks(table) for table in tables]
    assert stores[0].read("k", 100.0) == 100.0
    stores[0].move("k", 101.0)
    stores[1].move("k", 102.5)
    assert stores[2].read("k", 100.0) == 102.5
    assert stores[2].read("k", 103.0) == 103.0


def test_gauges_add_up(tables: list[Table]) -> None:
    stores = [SharedGauges(table) for table in tables]
    assert [store.enter("k", 1.0) for store in stores] == [1, 2, 3]
    stores[1].leave("k")
    assert stores[0].enter("k", 1.0) == 3


async def run(app: Any, count: int) -> list[int]:
    client = Client(app)
    return [(await client.get()).status for _ in range(count)]


async def test_plugins_of_several_workers_share_their_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    clock = FakeClock()
    confs: Any = {LimitCount: {"count": 3, "time_window": 60}}
    workers = [together(confs, clock=clock) for _ in range(2)]
    assert [await run(worker, 2) for worker in workers] == [[200, 200], [200, 503]]
    clock.advance(60)
    assert await run(workers[1], 1) == [200]
    confs = {LimitReq: {"rate": 1, "burst": 0, "key": "remote_addr"}}
    others = [together(confs, clock=clock) for _ in range(2)]
    assert [await run(worker, 1) for worker in others] == [[200], [503]]
    for worker in (*workers, *others):
        await Client(worker).lifespan()


async def test_concurrency_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    conf = {"conn": 1, "burst": 0, "default_conn_delay": 1, "key": "remote_addr"}
    inner: list[int] = []

    async def asks_the_other(scope: Any, receive: Any, send: Any) -> None:
        inner.extend(await run(second, 1))
        await EchoApp()(scope, receive, send)

    first = together({LimitConn: conf}, asks_the_other)
    second = together({LimitConn: conf})
    assert await run(first, 1) == [200]
    assert inner == [503]
    assert await run(second, 1) == [200]
