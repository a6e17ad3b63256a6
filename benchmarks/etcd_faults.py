"""What traffic sees while a real etcd fails: ``python -m benchmarks.etcd_faults [--json FILE]``.

A gateway process follows a cluster of three etcd members through relays that can be cut. Steady
traffic runs through it all the time. For each fault the table tells the requests sent and failed,
the longest answer, and how long after the end of the fault a new configuration was in force.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from benchmarks.fault_lab import Gateway, Origin, Relay, Traffic
from pingsix_asgi.config.etcd import EtcdStore
from pingsix_asgi.config.etcd_client import EtcdClient, EtcdOptions
from pingsix_asgi.config.store import Delete, Put
from pingsix_asgi.errors import SourceError
from support.etcd_server import EtcdServer
from support.processes import free_port

ROUTES = 1000
MANY_ROUTES = 10_000
KEYS_AT_ONCE = 100
CUT_S = 8.0


@dataclass
class Row:
    """One line of the table; times in milliseconds."""

    fault: str
    done: str
    requests: int
    failed: int
    longest_ms: float
    recovered_ms: float


class Lab:
    """The cluster, the relays before it, the gateway behind them and its traffic."""

    def __init__(self, folder: Path, size: int, auth: dict[str, str]) -> None:
        self.folder, self.auth = folder, auth
        self.members = [EtcdServer(folder, name=f"m{number}") for number in range(size)]
        self.relays = [Relay(member.port) for member in self.members]
        self.origin = Origin()
        self.gateway = Gateway(free_port(), free_port())
        self.traffic = Traffic(self.gateway.port)
        self.store = self.new_store(auth)
        self.version = 0

    def new_store(self, auth: dict[str, str]) -> EtcdStore:
        urls = [member.url for member in self.members]
        options = EtcdOptions(endpoints=urls, timeout_s=2, connect_timeout_s=1, **auth)
        return EtcdStore(EtcdClient(options))

    async def start(self) -> None:
        spec = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        for member in self.members:
            member.cluster = spec
            member.spawn()
        for member in self.members:
            await asyncio.to_thread(member.wait)
        if self.auth:
            await self._enable_auth()
        for relay in self.relays:
            await relay.start()
        await self.origin.start()
        await self.put_routes(ROUTES)
        urls = [f"http://127.0.0.1:{relay.port}" for relay in self.relays]
        await self.gateway.start(self.folder / "config.json", urls, self.auth)
        await self.effect()
        await self.traffic.start()

    async def stop(self) -> None:
        await self.traffic.stop()
        self.gateway.stop()
        await self.store.aclose()
        for relay in self.relays:
            relay.stop()
        self.origin.stop()
        for member in self.members:
            member.stop(kill=True)

    async def put_routes(self, count: int) -> None:
        """Fill the store: ``/steady`` for the traffic, and many others."""
        await self.store.commit([self.route("steady", "/steady")])
        for start in range(0, count, KEYS_AT_ONCE):
            numbers = range(start, min(count, start + KEYS_AT_ONCE))
            await self.store.commit([self.route(f"r{n}", f"/r/{n}/*") for n in numbers])

    def route(self, id: str, uri: str, **more: Any) -> Put:
        upstream = {"nodes": {f"127.0.0.1:{self.origin.port}": 1}}
        document = {"uri": uri, "upstream": upstream, **more}
        return Put(f"/apisix/routes/{id}", json.dumps(document).encode())

    async def effect(self) -> float:
        """Write a new version and wait until it answers; return the seconds since the write."""
        self.version += 1
        body = f"v{self.version}"
        put = self.route("probe", "/probe", plugins={"echo": {"body": body}})
        while True:
            with contextlib.suppress(SourceError):
                if await self.store.commit([put]):
                    break
            await asyncio.sleep(0.02)
        written = time.monotonic()
        await self.answers(body)
        return time.monotonic() - written

    async def answers(self, body: str) -> None:
        async with asyncio.timeout(60):
            while await self.gateway.get("/probe") != body:
                await asyncio.sleep(0.002)

    async def _enable_auth(self) -> None:
        anonymous = self.new_store({})
        for path, body in (
            ("auth/user/add", {"name": self.auth["user"], "password": self.auth["password"]}),
            ("auth/role/add", {"name": "root"}),
            ("auth/user/grant", {"user": self.auth["user"], "role": "root"}),
            ("auth/enable", {}),
        ):
            await anonymous.client.call(path, body)
        await anonymous.aclose()


Fault = Callable[[Lab], Awaitable[float]]
"""Does a fault and mends it; returns when (monotonic) the fault was over."""


async def member_lost(lab: Lab) -> float:
    """kill -9 of the member the gateway uses, the others go on"""
    lab.members[0].stop(kill=True)
    return time.monotonic()


async def member_back(lab: Lab) -> float:
    """the lost member started again"""
    await asyncio.to_thread(lab.members[0].start)
    return time.monotonic()


async def leader_change(lab: Lab) -> float:
    """leadership transferred to another member"""
    for member in lab.members:
        client = EtcdClient(EtcdOptions(endpoints=[member.url]))
        status = await client.call("maintenance/status", {})
        mine, leader = status["header"]["member_id"], status["leader"]
        if mine == leader:
            members = (await client.call("cluster/member/list", {}))["members"]
            target = next(one["ID"] for one in members if one["ID"] != leader)
            await client.call("maintenance/transfer-leadership", {"targetID": target})
        await client.aclose()
        if mine == leader:
            break
    return time.monotonic()


async def rolling_restart(lab: Lab) -> float:
    """every member stopped and started in turn"""
    for member in lab.members:
        await asyncio.to_thread(member.stop)
        await asyncio.to_thread(member.start)
    return time.monotonic()


async def all_killed(lab: Lab) -> float:
    """kill -9 of all members, started again after 3 s"""
    for member in lab.members:
        member.stop(kill=True)
    await asyncio.sleep(3)
    for member in lab.members:
        member.spawn()
    for member in lab.members:
        await asyncio.to_thread(member.wait)
    return time.monotonic()


async def network_cut(lab: Lab) -> float:
    """packets to all members lost for 8 s, connections left open"""
    for relay in lab.relays:
        relay.cut()
    await asyncio.sleep(CUT_S)
    for relay in lab.relays:
        relay.mend()
    return time.monotonic()


async def compaction(lab: Lab) -> float:
    """history compacted while the gateway was cut off for 8 s"""
    for relay in lab.relays:
        relay.cut()
    revision = 0
    for _ in range(20):
        revision = await lab.store.commit([lab.route("steady", "/steady")]) or revision
    await lab.store.client.call("kv/compaction", {"revision": str(revision)})
    await asyncio.sleep(CUT_S)
    for relay in lab.relays:
        relay.mend()
    return time.monotonic()


async def garbage(lab: Lab) -> float:
    """routes overwritten with garbage for 1 s (old versions stay in force), then corrected"""
    bad = [b"{", b"\xff\xfe", b"[]", b'{"uri": 5}']
    keys = ["steady", "probe", "r1", "r2"]
    puts = [Put(f"/apisix/routes/{key}", value) for key, value in zip(keys, bad, strict=True)]
    await lab.store.commit(puts)
    await asyncio.sleep(1)
    status = json.loads(await lab.gateway.get("/status/config", status=True))
    reported = {error["id"] for error in status["errors"]}
    if not reported >= set(keys):
        raise AssertionError(f"not reported: {set(keys) - reported}")
    await lab.store.commit([lab.route("steady", "/steady")])
    return time.monotonic()


async def many_routes(lab: Lab) -> float:
    """10 000 routes written as fast as etcd takes them"""
    await lab.put_routes(MANY_ROUTES)
    return time.monotonic()


async def token_lost(lab: Lab) -> float:
    """etcd with authentication restarted: every token it gave is void"""
    await asyncio.to_thread(lab.members[0].stop)
    await asyncio.to_thread(lab.members[0].start)
    return time.monotonic()


CLUSTER: list[Fault] = [
    member_lost,
    member_back,
    leader_change,
    rolling_restart,
    all_killed,
    network_cut,
    compaction,
    garbage,
    many_routes,
]


async def measured(lab: Lab, fault: Fault) -> Row:
    """Do one fault under traffic; wait until the gateway follows again."""
    lab.traffic.reset()
    over = await fault(lab)
    await lab.effect()
    recovered = time.monotonic() - over
    await asyncio.sleep(0.5)
    sent, failed, longest = lab.traffic.counted()
    name = fault.__name__.replace("_", " ")
    return Row(name, fault.__doc__ or "", sent, failed, longest * 1000, recovered * 1000)


async def session(
    size: int, faults: list[Fault], auth: dict[str, str]
) -> tuple[list[Row], list[float]]:
    """Run faults over one lab; also return the times from put to effect without any fault."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), size, auth)
        try:
            await lab.start()
            effects = [await lab.effect() * 1000 for _ in range(30)]
            rows = []
            for fault in faults:
                row = await measured(lab, fault)
                print(f"  {row.fault}", file=sys.stderr, flush=True)
                rows.append(row)
            await lab.store.commit([Delete("/apisix/routes/probe")])
            return rows, effects
        finally:
            await lab.stop()


async def run(only: str) -> dict[str, Any]:
    chosen = [fault for fault in CLUSTER if only in fault.__name__]
    rows, effects = await session(3, chosen, {})
    if only in token_lost.__name__:
        auth = {"user": "root", "password": "secret"}
        rows += (await session(1, [token_lost], auth))[0]
    return {
        "routes": ROUTES,
        "put_to_effect_ms": {
            "median": statistics.median(effects),
            "longest": max(effects),
        },
        "faults": [asdict(row) for row in rows],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    arguments = parser.parse_args()
    found = asyncio.run(run(arguments.only))
    effect = found["put_to_effect_ms"]
    print(f"put to effect with {ROUTES} routes: median {effect['median']:.1f} ms,", end=" ")
    print(f"longest {effect['longest']:.1f} ms\n")
    print("| fault | what was done | requests | failed | longest answer | recovered after |")
    print("|---|---|---|---|---|---|")
    for row in found["faults"]:
        print(
            f"| {row['fault']} | {row['done']} | {row['requests']} | {row['failed']} "
            f"| {row['longest_ms']:.0f} ms | {row['recovered_ms']:.0f} ms |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
