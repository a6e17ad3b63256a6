"""Parts of the fault bench: an origin, a relay that can be cut, traffic, the gateway process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx2

WORKERS = 8
PAUSE_S = 0.01
"""Between two requests of a worker: traffic is to show stalls, not to be one."""
TOO_LONG_S = 5.0


class Origin:
    """An HTTP server that answers every request with a few bytes."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
        writer.close()

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()


class Relay:
    """Passes TCP on to a port until it is cut; mending drops the connections of before."""

    def __init__(self, target: int) -> None:
        self.port, self._target = 0, target
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._open.set()

    def stop(self) -> None:
        self.mend()
        if self._server is not None:
            self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(far_writer)
        with contextlib.suppress(asyncio.CancelledError):  # the bench is over
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                await self._open.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()


class Traffic:
    """Workers that send requests to ``/steady`` one after another, and count."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: list[asyncio.Task[None]] = []
        self.reset()

    def reset(self) -> None:
        self._sent, self._failed, self._longest = 0, 0, 0.0

    def counted(self) -> tuple[int, int, float]:
        """Return requests sent, requests failed, and the longest answer in seconds."""
        return self._sent, self._failed, self._longest

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        request = b"GET /steady HTTP/1.1\r\nhost: bench\r\n\r\n"
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                while True:
                    await self._one(request, reader, writer)
                    await asyncio.sleep(PAUSE_S)
            except (OSError, EOFError, TimeoutError):
                self._failed += 1
                await asyncio.sleep(PAUSE_S)

    async def _one(
        self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._sent += 1
        started = time.monotonic()
        async with asyncio.timeout(TOO_LONG_S):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if b"content-length: 2\r\n" in head:
                await reader.readexactly(2)
        self._longest = max(self._longest, time.monotonic() - started)
        if not head.startswith(b"HTTP/1.1 200"):
            raise EOFError


class Gateway:
    """A ``pingsix-asgi run`` process that follows etcd."""

    def __init__(self, port: int, status_port: int) -> None:
        self.port, self._status_port = port, status_port
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx2.AsyncClient(trust_env=False, timeout=TOO_LONG_S)

    async def start(self, config: Path, etcd: list[str], auth: dict[str, str]) -> None:
        settings = {
            "listeners": [{"address": f"127.0.0.1:{self.port}"}],
            "status": {"address": f"127.0.0.1:{self._status_port}"},
            "etcd": {"host": etcd, "prefix": "/apisix", **auth},
        }
        config.write_text(json.dumps({"pingsix": settings}))  # JSON is YAML, too
        with config.with_suffix(".log").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pingsix_asgi", "run", "-c", str(config)],
                stdout=output,
                stderr=output,
            )
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(httpx2.HTTPError):
                    await self.get("/status/ready", status=True)
                    return
                await asyncio.sleep(0.05)

    async def get(self, path: str, *, status: bool = False) -> str:
        port = self._status_port if status else self.port
        return (await self._http.get(f"http://127.0.0.1:{port}{path}")).text

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
