"""The limit-* plugins over a real Redis: single, cluster, sentinel, away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi.middleware.limit_conn import LimitConn
from pingsix_asgi.middleware.limit_count import LimitCount
from pingsix_asgi.middleware.limit_req import LimitReq
from pingsix_asgi.testing import Client, EchoApp, FakeClock, together
from support.processes import free_port
from support.redis_server import command, redis_server, wait_until


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with redis_server(tmp_path_factory.mktemp("redis"), "requirepass sesame") as port:
        yield port


@asynccontextmanager
async def gateway(
    plugin: Any, clock: FakeClock | None = None, **conf: Any
) -> AsyncIterator[Client]:
    client = Client(together({plugin: conf}, EchoApp(), clock=clock or FakeClock()))
    try:
        yield client
    finally:
        await client.lifespan()


def redis(port: int, **options: Any) -> dict[str, Any]:
    where = {"redis_host": "127.0.0.1", "redis_port": port, "redis_password": "sesame"}
    return {"policy": "redis", **where, **options}


async def statuses(client: Client, count: int, **request: Any) -> list[int]:
    return [(await client.request("GET", "/", **request)).status for _ in range(count)]


async def test_two_gateways_share_a_fixed_window(redis_port: int) -> None:
    conf = redis(redis_port, count=3, time_window=60, key="http_who")
    async with gateway(LimitCount, **conf) as one, gateway(LimitCount, **conf) as two:
        who = {"who": "fixed"}
        assert await statuses(one, 2, headers=who) == [200, 200]
        answer = await two.get("/", who)
        assert answer.header("x-ratelimit-remaining") == "0"
        assert 58 < float(answer.header("x-ratelimit-reset") or 0) <= 60
        assert await statuses(two, 1, headers=who) == [503]
        assert await statuses(one, 1, headers={"who": "else"}) == [200]


async def test_a_window_ends(redis_port: int) -> None:
    conf = redis(redis_port, count=1, time_window=1, key="http_who")
    async with gateway(LimitCount, **conf) as client:
        who = {"who": "ends"}
        assert await statuses(client, 2, headers=who) == [200, 503]
        deadline = asyncio.get_running_loop().time() + 5
        while await statuses(client, 1, headers=who) == [503]:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)


async def test_many_at_once_are_counted_exactly(redis_port: int) -> None:
    conf = redis(redis_port, count=20, time_window=60, key="http_who")
    async with gateway(LimitCount, **conf) as one, gateway(LimitCount, **conf) as two:
        who = {"who": "many"}
        answers = await asyncio.gather(*(c.get("/", who) for c in [one, two] * 20))
        assert sorted(answer.status for answer in answers) == [200] * 20 + [503] * 20


async def test_a_sliding_window(redis_port: int) -> None:
    clock = FakeClock(6000.0)
    conf = redis(redis_port, count=4, time_window=60, key="http_who", window_type="sliding")
    who = {"who": "slide"}
    async with gateway(LimitCount, clock, **conf) as client:
        assert await statuses(client, 5, headers=who) == [200, 200, 200, 200, 503]
        clock.advance(90)
        assert await statuses(client, 3, headers=who) == [200, 200, 503]


async def test_scripts_are_sent_again_when_redis_forgot_them(redis_port: int) -> None:
    conf = redis(redis_port, count=9, time_window=60, key="http_who")
    async with gateway(LimitCount, **conf) as client:
        assert await statuses(client, 1, headers={"who": "flush"}) == [200]
        with pytest.raises(OSError, match="refused"):
            command(free_port(), "PING")
        await _flush_scripts(redis_port)
        answer = await client.get("/", {"who": "flush"})
        assert answer.header("x-ratelimit-remaining") == "7"


async def _flush_scripts(port: int) -> None:
    from redis.asyncio import Redis

    async with Redis(port=port, password="sesame") as connection:
        await connection.script_flush()


@pytest.mark.parametrize(
    ("plugin", "conf", "body"),
    [
        (LimitCount, {"count": 1, "time_window": 60}, b'{"error_msg":"failed to limit count"}\n'),
        (LimitReq, {"rate": 1, "burst": 0, "key": "remote_addr"}, None),
        (LimitConn, {"conn": 1, "burst": 0, "default_conn_delay": 1, "key": "remote_addr"}, None),
    ],
)
async def test_redis_away_or_wrong_password(
    plugin: Any, conf: Any, body: Any, redis_port: int
) -> None:
    for options in (redis(free_port()), redis(redis_port, redis_password="wrong")):
        async with gateway(plugin, **options, **conf) as client:
            answer = await client.get()
            assert answer.status == 500
            assert body is None or answer.body == body
        async with gateway(plugin, **options, **conf, allow_degradation=True) as client:
            assert await statuses(client, 2) == [200, 200]


async def test_a_redis_that_does_not_answer_in_time(tmp_path: Path) -> None:
    async def accept(reader: Any, writer: Any) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    conf = redis(port, redis_timeout=50, count=1, time_window=60)
    async with gateway(LimitCount, **conf) as client:
        assert await statuses(client, 1) == [500]
    server.close()
    await server.wait_closed()


async def test_limit_req(redis_port: int) -> None:
    clock = FakeClock()
    conf = redis(redis_port, rate=2, burst=1, key="http_who", nodelay=True)
    who = {"who": "req"}
    async with gateway(LimitReq, clock, **conf) as one, gateway(LimitReq, clock, **conf) as two:
        assert await statuses(one, 1, headers=who) == [200]
        assert await statuses(two, 2, headers=who) == [200, 503]
        clock.advance(0.5)
        assert await statuses(one, 2, headers=who) == [200, 503]


async def test_limit_conn_counts_off_and_forgets(redis_port: int) -> None:
    clock = FakeClock()
    conf = redis(redis_port, conn=1, burst=0, default_conn_delay=1, key="http_who", key_ttl=30)
    who = {"who": "conn"}
    go, inside = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            inside.set()
            await go.wait()
        await EchoApp()(scope, receive, send)

    client = Client(together({LimitConn: conf}, slow, clock=clock))
    task = asyncio.create_task(client.get("/", who))
    deadline = asyncio.get_running_loop().time() + 5
    await inside.wait()
    assert (await client.get("/", who)).status == 503
    clock.advance(31)  # the first never ended as far as Redis knows
    second = asyncio.create_task(client.get("/", who))
    go.set()
    assert [(await one).status for one in (task, second)] == [200, 200]
    while (await client.get("/", who)).status != 200:
        assert asyncio.get_running_loop().time() < deadline
    await client.lifespan()


async def test_delayed_sync_tells_redis_later(redis_port: int) -> None:
    conf = redis(redis_port, count=10, time_window=60, key="http_who", sync_interval=0.1)
    who = {"who": "delayed"}
    async with gateway(LimitCount, **conf) as one, gateway(LimitCount, **conf) as two:
        assert await statuses(one, 4, headers=who) == [200] * 4
        assert await statuses(two, 4, headers=who) == [200] * 4
        deadline = asyncio.get_running_loop().time() + 5
        while b"8" not in await _stored(redis_port, "delayed"):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.02)
        assert await statuses(one, 1, headers=who) == [200]
        answers = await statuses(two, 12, headers=who)
        assert answers[-1] == 503


async def test_delayed_sync_goes_on_alone_while_redis_is_away(tmp_path: Path) -> None:
    conf = redis(free_port(), count=2, time_window=60, sync_interval=1)
    async with gateway(LimitCount, **conf) as client:
        assert await statuses(client, 3) == [200, 200, 503]


async def _stored(port: int, who: str) -> bytes:
    from redis.asyncio import Redis

    async with Redis(port=port, password="sesame") as connection:
        keys = [key async for key in connection.scan_iter(f"*:{who}")]
        return (await connection.get(keys[0]) or b"") if keys else b""


async def test_a_cluster(tmp_path: Path) -> None:
    with redis_server(tmp_path, "cluster-enabled yes", "requirepass sesame") as port:
        from redis.asyncio import Redis

        async with Redis(port=port, password="sesame") as connection:
            await connection.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
            while b"cluster_state:ok" not in _raw(await connection.execute_command("CLUSTER INFO")):
                await asyncio.sleep(0.02)
        conf = {
            "policy": "redis-cluster",
            "redis_cluster_nodes": [f"127.0.0.1:{port}"],
            "redis_cluster_name": "c",
            "redis_password": "sesame",
            "count": 2,
            "time_window": 60,
        }
        async with gateway(LimitCount, **conf) as client:
            assert await statuses(client, 3) == [200, 200, 503]
        async with gateway(LimitCount, **conf, window_type="sliding") as client:
            assert await statuses(client, 3) == [200, 200, 503]


def _raw(answer: Any) -> bytes:
    return answer if isinstance(answer, bytes) else repr(answer).replace("': '", ":").encode()


async def test_a_master_found_by_sentinels(tmp_path: Path) -> None:
    with redis_server(tmp_path / "master") as port:
        options = [f"sentinel monitor main 127.0.0.1 {port} 1"]
        with redis_server(tmp_path / "sentinel", *options, sentinel=True) as sentinel:
            wait_until(sentinel, b"127.0.0.1", "SENTINEL", "get-master-addr-by-name", "main")
            conf = {
                "policy": "redis-sentinel",
                "redis_master_name": "main",
                "redis_sentinels": [{"host": "127.0.0.1", "port": sentinel}],
                "count": 2,
                "time_window": 60,
            }
            async with gateway(LimitCount, **conf) as client:
                assert await statuses(client, 3) == [200, 200, 503]


async def test_connections_that_nobody_uses_are_closed(redis_port: int) -> None:
    from redis.asyncio import Redis

    conf = redis(redis_port, count=9, time_window=60, redis_keepalive_timeout=1000)
    async with (
        Redis(port=redis_port, password="sesame", client_name="watcher") as watcher,
        gateway(LimitCount, **conf) as client,
    ):

        async def others() -> int:
            return sum(one["name"] != "watcher" for one in await watcher.client_list())

        before = await others()
        assert await statuses(client, 1) == [200]
        assert await others() == before + 1
        deadline = asyncio.get_running_loop().time() + 10
        while await others() > before:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        assert await statuses(client, 1) == [200]
