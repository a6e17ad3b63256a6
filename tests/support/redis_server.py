"""Real redis-server processes on free ports: single, cluster of one, and behind a sentinel."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.processes import free_port

_START_DEADLINE_S = 10


def low_port() -> int:
    """Return a free port, low enough for a cluster bus port at +10000."""
    while (port := free_port()) >= 55000:
        pass
    return port


@contextmanager
def redis_server(folder: Path, *options: str, sentinel: bool = False) -> Iterator[int]:
    """Run a server until the block ends; gives its port. Skips the test where there is none."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed")
    port = low_port()
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "redis.conf"
    conf.write_text(f"port {port}\nbind 127.0.0.1\ndir {folder}\n" + "\n".join(options) + "\n")
    command = [binary, str(conf)] + (["--sentinel"] if sentinel else ["--save", ""])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def command(port: int, *words: str) -> bytes:
    """Send one command in RESP and return the first line of the answer."""
    request = b"*%d\r\n" % len(words)
    for word in words:
        request += b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode())
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(request)
        return connection.recv(65536)


def wait_until(port: int, wanted: bytes, *words: str) -> None:
    """Repeat a command until its answer contains ``wanted``."""
    deadline = time.monotonic() + _START_DEADLINE_S
    answer = b""
    while time.monotonic() < deadline:
        answer = command(port, *words)
        if wanted in answer:
            return
        time.sleep(0.02)
    raise AssertionError(f"{words} gave {answer!r}")


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_DEADLINE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "redis-server ended"
        try:
            if command(port, "PING"):
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("redis-server does not answer")
