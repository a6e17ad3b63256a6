"""What a proxied request costs without sockets: server and node are played in one process.

``python -m benchmarks.in_memory NAME…`` prints the best time of a request in µs. NAME is "bare"
(the pool of apps/bare_pool.py), "none" or "five" plugins, or one plugin of apps/plugins.py.
Differences of 0.3 µs mean nothing, and in a server the same steps take up to twice as long: here
the caches are warm.

``valgrind --tool=cachegrind --cache-sim=yes python -m benchmarks.in_memory --rounds N NAME``
counts instead; the difference of two N, divided by that of the requests, is what a request costs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from pingsix_asgi import PingSIX
from pingsix_asgi.proxy.connection import Connection
from pingsix_asgi.upstream.node import Node

from .apps import UPSTREAM_HOST, UPSTREAM_PORT, bare_pool
from .apps.gateway import FIVE_PLUGINS
from .apps.plugins import PLUGINS

IN_FLIGHT = 64
BODY = b"hello from the upstream, 36 bytes ok"
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 29 Nov 2026 20:10:29 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%b"
) % (len(BODY), BODY)
FIELDS = ("host", "127.0.0.1:8080"), ("origin", "https://shop.example"), ("accept-encoding", "gzip")
App = Callable[[Any, Any, Any], Awaitable[None]]


class Wire:
    """A transport that takes everything and sends nothing."""

    def write(self, data: bytes) -> None:
        """Take what is written."""

    def close(self) -> None:
        """Nothing to close."""

    abort = close


def scope() -> dict[str, Any]:
    """Return what uvicorn makes of the request that the other benchmarks send."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 54321),
        "scheme": "http",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in FIELDS],
        "state": {},
        "method": "GET",
        "path": "/hello",
        "raw_path": b"/hello",
        "query_string": b"",
    }


async def bare() -> tuple[App, list[Any]]:
    """Return the bare pool's app and its idle connections, the next one last."""
    for _ in range(IN_FLIGHT):
        connection = bare_pool.Connection()
        connection.connection_made(Wire())
        bare_pool.idle.append(connection)
    return bare_pool.app, bare_pool.idle


async def gateway(plugins: dict[str, Any]) -> tuple[App, list[Any]]:
    """Return a gateway with one route and the idle connections to its node."""
    nodes = {f"{UPSTREAM_HOST}:{UPSTREAM_PORT}": 1}
    route = {"id": "all", "uri": "/*", "upstream": {"nodes": nodes}, "plugins": plugins}
    app = PingSIX(config={"routes": [route]})
    await app.startup()
    target: Any = app.runtime.snapshot.router.entries["all"].match.target
    node: Node = target.upstream.nodes[0]
    node.pool.take(asyncio.get_running_loop())  # binds the pool to the loop
    for _ in range(IN_FLIGHT):
        connection = Connection(node.pool)
        connection.connection_made(cast("asyncio.Transport", Wire()))
        node.pool._open.add(connection)
        node.pool._idle.append(connection)
    return app, node.pool._idle


def turn(app: App, idle: list[Any]) -> None:
    """Serve as many requests as are in flight at once: first all are sent, then all answered."""
    connections = idle[::-1]
    started = []
    for connection in connections:
        connection.requests = 1  # never too many for one connection
        coroutine: Any = app(scope(), None, send)
        waits = coroutine.send(None)
        waits._asyncio_future_blocking = False  # as the task would do
        started.append(coroutine)
    for coroutine, connection in zip(started, connections, strict=True):
        connection.data_received(ANSWER)
        try:
            coroutine.send(None)
        except StopIteration:
            continue
        raise RuntimeError("a request did not end with its answer")


async def send(message: Any) -> None:
    """Take a message of the answer, as the server would."""


async def measure(name: str, rounds: int) -> float:
    """Return the best time of a request over so many rounds, in µs."""
    if name == "bare":
        app, idle = await bare()
    else:
        plugins = {"none": {}, "five": FIVE_PLUGINS}.get(name)
        app, idle = await gateway({name: PLUGINS[name]} if plugins is None else plugins)
    gc.collect()
    gc.disable()
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        turn(app, idle)
        best = min(best, time.perf_counter() - began)
    gc.enable()
    return best / IN_FLIGHT * 1e6


def main() -> None:
    """Print a line for each name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.in_memory")
    parser.add_argument(
        "names", nargs="+", metavar="NAME", choices=("bare", "none", "five", *PLUGINS)
    )
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    for name in options.names:
        print(f"{name:18} {asyncio.run(measure(name, options.rounds)):6.2f}", flush=True)
    os._exit(0)  # the connections are none that could be closed


if __name__ == "__main__":
    main()
