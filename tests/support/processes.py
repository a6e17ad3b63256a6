"""Processes under test: started, watched with deadlines, ended by the id we hold."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

DEADLINE_S = 20.0
"""Long enough for a busy machine; a test that needs it all fails."""


def free_port() -> int:
    """Return a port nothing listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Poll until ``condition`` holds. Raises AssertionError, with ``what``, after the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.02)


def get(
    port: int,
    path: str = "/",
    headers: dict[str, str] | None = None,
    method: str = "GET",
    body: str | None = None,
) -> tuple[int, dict[str, str], str]:
    """Send one request; returns status, headers (lower-case names) and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, text


class Process:
    """A child process whose output is kept in files, so it never blocks on a full pipe."""

    def __init__(
        self, command: Sequence[str], *, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self._out, self._err = _output(), _output()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PINGSIX", "RUST_LOG"))}
        self._popen = subprocess.Popen(
            command,
            stdout=self._out,
            stderr=self._err,
            env={**clean, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=cwd,
        )
        self.pid = self._popen.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        if error is not None:
            sys.stderr.write(f"--- output of {self._popen.args!r}\n{self.output}\n")
        self._out.close()
        self._err.close()

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    @property
    def stdout(self) -> str:
        return _text(self._out)

    @property
    def stderr(self) -> str:
        return _text(self._err)

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process."""
        self._popen.send_signal(number)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Return the exit code once the process has ended."""
        return self._popen.wait(deadline_s)

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Poll until ``condition`` holds; fails at once when the process ends before."""

        def holds() -> object:
            assert self.is_running, f"ended with {self._popen.returncode} before: {what}"
            return condition()

        wait_until(holds, what)

    def wait_for_port(self, port: int) -> None:
        """Wait until something accepts connections on a port."""
        self.wait_for(lambda: accepts(port), f"port {port} accepts")

    def wait_for_text(self, text: str) -> None:
        """Wait until the process has written ``text``."""
        self.wait_for(lambda: text in self.output, f"output has {text!r}")


def accepts(port: int) -> bool:
    """Tell whether a connection to a port is accepted."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def gateway(*arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Process:
    """Start the command line of the gateway."""
    return Process([sys.executable, "-m", "pingsix_asgi", *arguments], env=env, cwd=cwd)


def _output() -> IO[bytes]:
    return tempfile.TemporaryFile()


def _text(file: IO[bytes]) -> str:
    return os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace")
