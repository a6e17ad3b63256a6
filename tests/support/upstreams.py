"""What compiled upstreams need: services, a resolver and a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from pingsix_asgi.context import Context, Request
from pingsix_asgi.errors import NoUpstream
from pingsix_asgi.upstream.node import Node, PoolKey
from pingsix_asgi.upstream.services import (
    Addresses,
    Resolver,
    ServiceRecord,
    ServiceRecords,
    UpstreamDefaults,
)


class FakeClock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


class FakePool:
    """Remembers whether it was retired."""

    def __init__(self, key: PoolKey) -> None:
        self.key = key
        self.is_retired = False

    def retire(self) -> None:
        assert not self.is_retired, "retired twice"
        self.is_retired = True


class FakeResolver:
    """Answers from a table that the test edits; a name that is not there does not resolve."""

    def __init__(self, names: Mapping[str, list[str]] | None = None) -> None:
        self.names = dict(names or {})
        self.records: dict[str, list[ServiceRecord]] = {}
        self.ttl_s: float | None = None
        self.asked: list[str] = []
        self.silent: set[str] = set()

    async def addresses(self, host: str) -> Addresses:
        self.asked.append(host)
        if host in self.silent:
            await asyncio.Event().wait()
        if host not in self.names:
            raise NoUpstream(f"{host} does not resolve")
        return Addresses(tuple(self.names[host]), self.ttl_s)

    async def services(self, name: str) -> ServiceRecords:
        self.asked.append(f"SRV {name}")
        if f"SRV {name}" in self.silent:
            await asyncio.Event().wait()
        return ServiceRecords(tuple(self.records.get(name, ())), self.ttl_s)


class FakeServices:
    """UpstreamServices without a runtime."""

    def __init__(
        self, resolver: Resolver | None = None, defaults: UpstreamDefaults | None = None
    ) -> None:
        self.clock = FakeClock()
        self.resolver = resolver or FakeResolver()
        self.defaults = defaults or UpstreamDefaults()
        self.pools: list[FakePool] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._kept: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()

    def make_pool(self, key: PoolKey) -> FakePool:
        self.pools.append(FakePool(key))
        return self.pools[-1]

    def keep(self, key: Hashable, make: Callable[[], Any]) -> Any:
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = make()
        return kept

    def spawn(self, coro: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self.tasks.append(task)
        return task

    @property
    def running(self) -> list[str]:
        """Names of the background tasks that have not ended and are not about to."""
        return [task.get_name() for task in self.tasks if not task.done() and not task.cancelling()]

    async def aclose(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def make_nodes(*weights: int, port: int = 80) -> dict[Node, int]:
    """Return nodes 10.0.0.1, 10.0.0.2 … with these weights."""
    return {
        Node(f"10.0.0.{number}", port, weight=weight): weight
        for number, weight in enumerate(weights, 1)
    }


def make_ctx(
    path: str = "/", headers: Mapping[str, str] | None = None, client: str = "127.0.0.1"
) -> Context:
    """Return a context for a GET of ``path``."""
    lines = headers or {}
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), line.encode()) for name, line in lines.items()],
        "scheme": "http",
        "client": (client, 5000),
    }

    async def unused(*_: Any) -> Any:
        raise AssertionError("nothing is sent or received here")

    return Context(scope, unused, unused, Request(scope, path, path.encode(), "example.com"))


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Wait until ``condition`` holds. Raises AssertionError when it does not in time."""
    ends_at = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < ends_at, "the condition did not come true"
        await asyncio.sleep(0.01)
