"""A gateway in memory: resources in, requests through router and engine, nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any

from pingsix_asgi.context import Context, Request
from pingsix_asgi.engine import serve
from pingsix_asgi.errors import SchemaError
from pingsix_asgi.http.scope import read_host, read_path
from pingsix_asgi.plugin.base import Plugin
from pingsix_asgi.plugin.registry import Registry
from pingsix_asgi.snapshot.build import Builder
from pingsix_asgi.snapshot.publish import Publisher
from pingsix_asgi.snapshot.runtime import Runtime
from pingsix_asgi.snapshot.snapshot import Snapshot
from pingsix_asgi.testing import Answer, Client
from pingsix_asgi.types import ASGIApp, Receive, Scope, Send


class Gateway:
    """Publishes resources and answers requests by them."""

    def __init__(self, plugins: Iterable[type[Plugin]] = (), app: ASGIApp | None = None) -> None:
        self.runtime = Runtime()
        self.builder = Builder(self.runtime, Registry(plugins), app)
        self.publisher = Publisher(self.builder)
        self.client = Client(self)
        self.contexts: list[Context] = []

    @property
    def snapshot(self) -> Snapshot:
        return self.runtime.snapshot

    async def publish(self, partial: bool = True, **resources: dict[str, Any]) -> list[SchemaError]:
        revision = self.snapshot.revision + 1
        return list(await self.publisher(resources, revision, partial=partial))

    async def get(self, target: str = "/", headers: dict[str, str] | None = None) -> Answer:
        return await self.client.get(target, headers or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, target = read_path(scope)
        request = Request(scope, path, target, read_host(scope["headers"]))
        ctx = Context(scope, receive, send, request)
        self.contexts.append(ctx)
        ctx.started = monotonic()
        ctx.snapshot = snapshot = self.snapshot
        await serve(ctx, snapshot.router.match(ctx) or snapshot.unmatched)
