"""Compare what two paths of one server cost, in turns so short that the machine's moods cancel out.

A tool like wrk runs for a second at least, and on a shared machine one second differs from the next
by more than a plugin costs. Here the paths change every few hundred requests, and the processor
time is read while the server has nothing to do.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import NamedTuple

import httptools

from .load import HEADERS
from .processes import Server

CONNECTIONS = 32
TURN = 640
"""Requests between two readings: some 30 ms."""


class Compared(NamedTuple):
    """Processor time per request in µs, medians over all turns, and the median of the ratios."""

    first_us: float
    second_us: float
    ratio: float


class Client(asyncio.Protocol):
    """One connection that sends the next request when the answer to the last one is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)
        self.request = b""
        self.left = 0
        self.done: asyncio.Future[None]

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() != 200:
            self.done.set_exception(RuntimeError(f"status {self.parser.get_status_code()}"))
            return
        self.left -= 1
        self.parser = httptools.HttpResponseParser(self)
        if self.left:
            self.transport.write(self.request)
        else:
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.left:
            self.done.set_exception(exc or ConnectionResetError("the server closed"))

    def send(self, request: bytes, count: int) -> asyncio.Future[None]:
        self.request, self.left = request, count
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.done


def compare(server: Server, first: str, second: str, seconds: float) -> Compared:
    """Raises RuntimeError for an answer other than 200, OSError when there is none."""
    return asyncio.run(_compare(server, first, second, seconds))


async def _compare(server: Server, first: str, second: str, seconds: float) -> Compared:
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(Client, "127.0.0.1", server.port) for _ in range(CONNECTIONS)
    ]
    clients = [client for _, client in made]
    turns: list[tuple[float, float]] = []
    until = time.monotonic() + seconds
    while len(turns) < 2 or time.monotonic() < until:
        turns.append((await _turn(server, clients, first), await _turn(server, clients, second)))
    for client in clients:
        client.transport.close()
    before, after = zip(*turns[1:], strict=True)  # the first turn warms up
    ratio = statistics.median(there / here for here, there in turns[1:])
    return Compared(statistics.median(before), statistics.median(after), ratio)


async def _turn(server: Server, clients: list[Client], path: str) -> float:
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", *HEADERS, "", ""]
    request = "\r\n".join(lines).encode()
    before = server.cpu_seconds()
    await asyncio.gather(*(client.send(request, TURN // len(clients)) for client in clients))
    return (server.cpu_seconds() - before) * 1e6 / TURN
