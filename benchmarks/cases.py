"""What is measured: every case by name, with the command that serves it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from . import nginx
from .processes import python

Kind = Literal["proxy", "in-process"]
Command = Callable[[Path, int, str], list[str]]
"""(folder for files, port to serve, upstream host:port) -> argv"""


@dataclass(frozen=True)
class Case:
    """``streams`` says that bodies are not held whole, so large ones may be sent through it."""

    name: str
    kind: Kind
    command: Command
    env: dict[str, str] = field(default_factory=dict)
    path: str = "/hello"
    routes: int = 0
    streams: bool = False
    needs: str = ""

    def missing(self) -> str:
        """Return what this machine lacks for the case, "" when it can run."""
        if not self.needs or find_spec(self.needs) or shutil.which(self.needs):
            return ""
        return f"{self.needs} is not installed"


def uvicorn(app: str, http: str = "httptools") -> Command:
    options = f"--loop uvloop --http {http} --no-access-log --log-level warning".split()

    def command(_: Path, port: int, upstream: str) -> list[str]:
        return python("-m", "uvicorn", f"benchmarks.apps.{app}:app", *options, "--port", str(port))

    return command


def granian(app: str) -> Command:
    options = "--interface asgi --loop uvloop --workers 1 --no-access-log --log-level warning"
    options += " --backpressure 4096 --http 1 --no-ws"

    def command(_: Path, port: int, upstream: str) -> list[str]:
        target = f"benchmarks.apps.{app}:app"
        return python("-m", "granian", *options.split(), "--port", str(port), target)

    return command


def sidecar(folder: Path, port: int, upstream: str) -> list[str]:
    """Run the gateway as its own command does, on the server it chooses."""
    folder.mkdir(exist_ok=True)
    conf = folder / "gateway.json"
    nodes = {upstream: 1}
    document = {
        "pingsix": {"listeners": [{"address": f"127.0.0.1:{port}"}]},
        "routes": [{"id": "all", "uri": "/*", "upstream": {"nodes": nodes}}],
    }
    conf.write_text(json.dumps(document))
    return python("-m", "pingsix_asgi", "run", "-c", str(conf), "--log-level", "warn")


def _gateway(name: str, env: dict[str, str] | None = None, routes: int = 0) -> list[Case]:
    settings = {"BENCH_ROUTES": str(routes), **(env or {})}
    path = "/r1/items/1234" if routes else "/hello"
    streams = not env and not routes
    servers = {"uvicorn": uvicorn("gateway"), "granian": granian("gateway")}
    return [
        Case(f"{name} ({server})", "proxy", command, settings, path, routes, streams)
        for server, command in servers.items()
    ]


def _in_process(name: str, stack: str, needs: str = "fastapi") -> Case:
    return Case(
        f"{name} (uvicorn)",
        "in-process",
        uvicorn("in_process"),
        {"BENCH_STACK": stack},
        needs=needs,
    )


CASES: tuple[Case, ...] = (
    Case("nginx", "proxy", nginx.proxy_command, streams=True, needs="nginx"),
    Case("bare pool (granian)", "proxy", granian("bare_pool")),
    Case("bare pool (uvicorn)", "proxy", uvicorn("bare_pool")),
    Case("bare pool (uvicorn+zttp)", "proxy", uvicorn("bare_pool", "zttp"), needs="zttp"),
    *_gateway("pingsix"),
    Case("pingsix (uvicorn+zttp)", "proxy", uvicorn("gateway", "zttp"), needs="zttp"),
    *_gateway("pingsix, 5 plugins", {"BENCH_PLUGINS": "1"}),
    *_gateway("pingsix, 10 routes", routes=10),
    *_gateway("pingsix, 10000 routes", routes=10_000),
    Case("pingsix-asgi run", "proxy", sidecar, streams=True),
    Case(
        "aiohttp proxy (uvicorn)", "proxy", uvicorn("aiohttp_proxy"), streams=True, needs="aiohttp"
    ),
    Case("httpx2 proxy (uvicorn)", "proxy", uvicorn("httpx2_proxy"), streams=True, needs="httpx2"),
    Case(
        "fastapi-proxy-lib (uvicorn)",
        "proxy",
        uvicorn("proxy_lib"),
        streams=True,
        needs="fastapi_proxy_lib",
    ),
    _in_process("fastapi", "bare"),
    _in_process("fastapi, 5 middlewares", "middlewares", needs="slowapi"),
    _in_process("fastapi in pingsix, 5 plugins", "pingsix"),
)
