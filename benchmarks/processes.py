"""Start servers pinned to a core on free ports, wait for them, measure them, always end them."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Cores:
    """Which core each party runs on; None where the machine has too few to pin."""

    proxy: int | None
    upstream: int | None
    client: int | None

    @classmethod
    def choose(cls) -> Cores:
        available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if len(available) < 2 or shutil.which("taskset") is None:
            return cls(None, None, None)
        if len(available) == 2:
            return cls(available[1], available[0], available[0])
        return cls(available[-1], available[-2], available[-3])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(command: list[str], core: int | None) -> list[str]:
    return command if core is None else ["taskset", "-c", str(core), *command]


def get(port: int, path: str, timeout: float = 2.0) -> int:
    """Return the status of one GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@dataclass
class Server:
    """One running server; ``started_in`` is the time from its start to its first good answer."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    started_in: float = 0.0
    _rss_before: dict[int, int] = field(default_factory=dict)

    def wait_ready(self, path: str) -> None:
        """Poll until a GET of ``path`` is answered with 200. Raises RuntimeError when it is not."""
        began = time.monotonic()
        seen = "no answer"
        while time.monotonic() - began < START_TIMEOUT_S:
            if self.process.poll() is not None:
                raise RuntimeError(f"ended at once: {self.last_words()}")
            try:
                status = get(self.port, path)
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
                continue
            if status == 200:
                self.started_in = time.monotonic() - began
                return
            seen = f"status {status}"
            time.sleep(0.05)
        raise RuntimeError(f"not ready in {START_TIMEOUT_S:.0f} s ({seen}): {self.last_words()}")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def memory_mb(self) -> float:
        """Return the resident memory of the process and its children."""
        return sum(_status(pid, "VmRSS") for pid in _tree(self.process.pid)) / 1024

    def cpu_seconds(self) -> float:
        """Return the processor time used so far by the process and its children."""
        return sum(_cpu_seconds(pid) for pid in _tree(self.process.pid))

    def forget_peak(self) -> None:
        """Start watching the peak memory from here."""
        self._rss_before.clear()
        for pid in _tree(self.process.pid):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            self._rss_before[pid] = _status(pid, "VmRSS")

    def peak_growth_mb(self) -> float:
        """Return by how much the peak since ``forget_peak`` was above the memory then."""
        grown = (max(0, _status(pid, "VmHWM") - was) for pid, was in self._rss_before.items())
        return sum(grown) / 1024

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT_S)
                return


@contextlib.contextmanager
def serving(
    command: list[str], port: int, core: int | None, path: str, log: Path, env: dict[str, str]
) -> Iterator[Server]:
    """Run ``command`` in its own process group until the block ends."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            pinned(command, core),
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONWARNINGS": "ignore", **env},
            start_new_session=True,
        )
    server = Server(process, port, log)
    try:
        server.wait_ready(path)
        yield server
    finally:
        server.stop()


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def _tree(pid: int) -> list[int]:
    found = [pid]
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            found += _tree(int(child))
    return found


def _cpu_seconds(pid: int) -> float:
    """Return what the threads of a process used; in ticks of 10 ms where nothing finer is told."""
    with contextlib.suppress(OSError):
        threads = Path(f"/proc/{pid}/task").iterdir()
        return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _status(pid: int, name: str) -> int:
    """Return a size in KiB from /proc, 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
    return 0
