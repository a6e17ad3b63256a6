"""Real servers on ephemeral ports: uvicorn in the test's loop, any host as a process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import uvicorn

from support.processes import Process, free_port

HostName = Literal["uvicorn", "granian", "hypercorn"]
HOSTS: tuple[HostName, ...] = ("uvicorn", "granian", "hypercorn")


@dataclass(frozen=True)
class Served:
    """A server under test."""

    port: int
    server: uvicorn.Server | None = None
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[Served]:
    """Run an ASGI app under uvicorn in this event loop; options are uvicorn's.

    Raises RuntimeError when its lifespan does not start.
    """
    config = uvicorn.Config(app, log_config=None, **{"timeout_graceful_shutdown": 5, **options})
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        task = asyncio.create_task(_serve(server, sock))
        while not server.started:
            if task.done():
                task.result()
                raise RuntimeError("the server did not start")
            await asyncio.sleep(0.005)
        try:
            yield Served(sock.getsockname()[1], server, "https" if config.is_ssl else "http")
        finally:
            server.should_exit = True
            await task


async def _serve(server: uvicorn.Server, sock: socket.socket) -> None:
    try:
        await server.serve(sockets=[sock])
    except SystemExit as error:  # uvicorn's way to say that the lifespan failed
        raise RuntimeError("the lifespan did not start") from error


def host_command(host: HostName, target: str, folder: Path, port: int) -> list[str]:
    """Return the command line a user would type to host ``target`` ("module:app") of a folder."""
    python = [sys.executable, "-m"]
    match host:
        case "uvicorn":
            return [*python, "uvicorn", "--app-dir", str(folder), "--port", str(port), target]
        case "granian":
            options = ["--interface", "asgi", "--working-dir", str(folder), "--port", str(port)]
            return [*python, "granian", *options, target]
        case "hypercorn":
            return [*python, "hypercorn", "--bind", f"127.0.0.1:{port}", target]


@contextlib.contextmanager
def hosted(
    host: HostName, target: str, folder: Path, env: dict[str, str] | None = None
) -> Iterator[tuple[Process, Served]]:
    """Run a host as a process of its own until the block ends; it is answering when it begins."""
    port = free_port()
    command = host_command(host, target, folder, port)
    with Process(command, env={"PYTHONPATH": str(folder), **(env or {})}, cwd=folder) as process:
        process.wait_for_port(port)
        yield process, Served(port)
