"""An origin under the test's control, behind a caching plugin, with time that stands still."""

from __future__ import annotations

import asyncio
from typing import Any

from pingsix_asgi.middleware.proxy_cache import ProxyCache
from pingsix_asgi.testing import Answer, Client, FakeClock, together
from pingsix_asgi.types import Receive, Scope, Send

MEMORY = {"cache_strategy": "memory", "cache_zone": "memory_cache"}
RFC = {**MEMORY, "cache_control": True, "cache_ttl": 1}


class Origin:
    """Answers with the number of the call; what else it says can be changed between calls."""

    def __init__(self, **headers: str) -> None:
        self.calls = 0
        self.status = 200
        self.headers = {key.replace("_", "-"): value for key, value in headers.items()}
        self.gate: asyncio.Event | None = None
        self.body: bytes | None = None
        """None: the number of the call."""
        self.fails: Exception | None = None
        self.last: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        number = self.calls
        self.last = {k.decode(): v.decode() for k, v in scope["headers"]}
        if self.gate is not None:
            await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        raw = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        status = self.status
        if self.last.get("if-none-match") and self.last["if-none-match"] == self.headers.get(
            "etag"
        ):
            status = 304
        await send({"type": "http.response.start", "status": status, "headers": raw})
        body = b"answer %d" % number if self.body is None else self.body
        if status == 304:
            body = b""
        await send({"type": "http.response.body", "body": body[:4], "more_body": True})
        await send({"type": "http.response.body", "body": body[4:]})


class Bench:
    def __init__(self, origin: Origin, plugin: Any = ProxyCache, **options: Any) -> None:
        self.origin = origin
        self.clock = FakeClock()
        self.client = Client(together({plugin: options}, origin, clock=self.clock))

    @classmethod
    def around(cls, origin: Origin, plugins: dict[Any, Any], **options: Any) -> Bench:
        """Return a bench with several plugins, each with its options."""
        bench = cls.__new__(cls)
        bench.origin, bench.clock = origin, FakeClock()
        bench.client = Client(together(plugins, origin, clock=bench.clock, **options))
        return bench

    async def get(self, target: str = "/", method: str = "GET", **headers: str) -> Answer:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return await self.client.request(method, target, headers=named)

    async def seen(self, target: str = "/", method: str = "GET", **headers: str) -> tuple[str, str]:
        answer = await self.get(target, method, **headers)
        status = answer.header("apisix-cache-status") or answer.header("x-cache-status") or ""
        return status, answer.text
