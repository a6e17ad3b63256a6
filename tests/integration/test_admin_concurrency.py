"""Many writers at once: no update lost, nothing dangling, readers converge."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi.config.etcd import EtcdStore
from pingsix_asgi.config.etcd_client import EtcdClient, EtcdOptions
from pingsix_asgi.config.sqlite import SQLiteStore
from pingsix_asgi.config.store import Store
from pingsix_asgi.config.watch import StoreSource
from pingsix_asgi.model.resources import check_references
from support.admin_client import Admin
from support.etcd_server import EtcdServer, until

WRITERS = 8
UPSTREAM = {"nodes": {"127.0.0.1:1980": 1}}
ROUTE = {"uri": "/hello", "upstream": UPSTREAM}
NewStore = Callable[[], Store]


@pytest.fixture(params=["sqlite", "etcd"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewStore]:
    if request.param == "sqlite":
        yield lambda: SQLiteStore(tmp_path / "admin.db")
        return
    server = EtcdServer(tmp_path).start()
    yield lambda: EtcdStore(EtcdClient(EtcdOptions(endpoints=[server.url])))
    server.stop(kill=True)


@pytest.fixture
async def admins(new_store: NewStore) -> AsyncIterator[list[Admin]]:
    """One Admin API per writer, each with a store of its own, as in processes of their own."""
    admins = [Admin(new_store()) for _ in range(WRITERS)]
    yield admins
    for admin in admins:
        await admin.store.aclose()


async def test_patches_of_one_route_all_count(admins: list[Admin]) -> None:
    await admins[0]("PUT", "/routes/1", ROUTE)

    async def write(number: int, admin: Admin) -> None:
        for step in range(5):
            change = {"labels": {f"w{number}-{step}": "x"}}
            status, answer = await admin("PATCH", "/routes/1", change)
            assert status == 200, answer

    async with asyncio.timeout(50):
        await asyncio.gather(*(write(*item) for item in enumerate(admins)))
    labels = (await admins[0].value("/routes/1"))["labels"]
    assert len(labels) == WRITERS * 5


async def test_one_create_wins(admins: list[Admin]) -> None:
    answers = await asyncio.gather(*(admin("PUT", "/routes/1", ROUTE) for admin in admins))
    assert sorted(status for status, _ in answers) == [200] * (WRITERS - 1) + [201]


async def test_posts_never_share_an_id(admins: list[Admin]) -> None:
    answers = await asyncio.gather(
        *(admin("POST", "/routes", ROUTE) for admin in admins for _ in range(3))
    )
    assert {status for status, _ in answers} == {201}
    assert len({answer["key"] for _, answer in answers}) == WRITERS * 3


async def test_a_reference_never_dangles(admins: list[Admin]) -> None:
    """Half of the writers create and delete upstreams, the others refer to them."""
    seen: set[int] = set()

    async def churn(admin: Admin, choose: random.Random) -> None:
        for _ in range(25):
            id = choose.randrange(3)
            if choose.random() < 0.5:
                status, _ = await admin("PUT", f"/upstreams/{id}", UPSTREAM)
            else:
                status, _ = await admin("DELETE", f"/upstreams/{id}")
            seen.add(status)

    async def refer(admin: Admin, number: int, choose: random.Random) -> None:
        for _ in range(25):
            path = f"/routes/{number}"
            if choose.random() < 0.6:
                route = {"uri": "/", "upstream_id": choose.randrange(3)}
                status, _ = await admin("PUT", path, route)
            else:
                status, _ = await admin("DELETE", path)
            seen.add(status)
            await whole(admin.store)

    async with asyncio.timeout(55):
        await asyncio.gather(
            *(churn(admin, random.Random(number)) for number, admin in enumerate(admins[:4])),
            *(refer(admin, n, random.Random(n)) for n, admin in enumerate(admins[4:], 4)),
        )
    assert {200, 201, 400, 404} >= seen
    await whole(admins[0].store)


async def whole(store: Store) -> None:
    """Check that every reference of one moment leads somewhere."""
    resources, _ = await StoreSource(store).load()
    for kind, documents in resources.items():
        for id, document in documents.items():
            assert not check_references(resources, kind, id, document)


async def test_a_credential_has_one_owner(admins: list[Admin]) -> None:
    async def claim(number: int, admin: Admin) -> int:
        consumer = {"username": f"c{number}", "plugins": {"key-auth": {"key": "same"}}}
        return (await admin("PUT", "/consumers", consumer))[0]

    statuses = await asyncio.gather(*(claim(*item) for item in enumerate(admins)))
    assert sorted(statuses) == [201] + [400] * (WRITERS - 1)


async def test_credentials_and_their_consumer(admins: list[Admin]) -> None:
    """A credential written while its consumer is deleted is refused or deleted with it."""
    for turn in range(10):
        await admins[0]("PUT", "/consumers", {"username": "jack"})
        document = {"plugins": {"key-auth": {"key": f"k{turn}"}}}
        await asyncio.gather(
            admins[1]("PUT", "/consumers/jack/credentials/1", document),
            admins[2]("DELETE", "/consumers/jack"),
        )
        await whole(admins[0].store)
        await admins[0]("DELETE", "/consumers/jack")


async def test_two_gateways_converge(new_store: NewStore, admins: list[Admin]) -> None:
    published: list[dict[str, Any]] = [{}, {}]

    async def follow(index: int) -> None:
        async def publish(resources: Any, revision: int) -> list[Any]:
            published[index] = dict(resources.get("routes", {}))
            return []

        await StoreSource(new_store()).run(publish)

    async def write(number: int, admin: Admin) -> None:
        for step in range(6):
            await admin("PUT", f"/routes/{step}", {**ROUTE, "desc": f"{number}-{step}"})
            await admin("PATCH", f"/routes/{step}", {"labels": {f"w{number}": "x"}})

    async with AsyncExitStack() as stack:
        for index in range(2):
            task = asyncio.create_task(follow(index))
            stack.callback(task.cancel)
        await asyncio.gather(*(write(*item) for item in enumerate(admins)))
        stored = {
            item.key.rpartition("/")[2]: json.loads(item.value)
            for item in (await admins[0].store.list("/apisix/routes/")).items
        }
        assert len(stored) == 6
        await until(lambda: published[0] == published[1] == stored)
    await asyncio.sleep(0)
