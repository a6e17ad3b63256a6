"""Run the shop both ways on loopback, and try it: ``scripts/demo``.

In-process: one process, the shop with its policies around it. Standalone: two replicas of the bare
shop and a gateway in front. Ports are 8000, 8001, 8002 and 9080 where they are free.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
KEY = "demo-key"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Try:
    """One curl line."""

    about: str
    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    def curl(self, port: int) -> str:
        words = ["curl", "-i"]
        if self.method != "GET":
            words += ["-X", self.method]
        for name, value in self.headers.items():
            words += ["-H", f"{name}: {value}"]
        if self.body:
            words += ["-d", self.body]
        return shlex.join([*words, f"http://127.0.0.1:{port}{self.path}"])


ORDER = '{"book_id": 2, "copies": 3}'
JSON = {"content-type": "application/json"}

IN_PROCESS = (
    Try("a page of another origin may read it: CORS, a request id, what is left of the limit",
        "/books/1", headers={"origin": "https://shop.example"}),
    Try("orders want a key", "/orders", "POST", JSON, ORDER),
    Try("with a key; the shop sees the request id the gateway gave", "/orders", "POST",
        {**JSON, "apikey": KEY}, ORDER),
    *(Try("", "/books/2") for _ in range(2)),
    Try("the fourth request for a book in 10 seconds", "/books/2"),
)  # fmt: skip
STANDALONE = (
    Try("two replicas take turns", "/health"),
    Try("", "/health"),
    Try("the same policies, now outside the shop", "/orders", "POST", JSON, ORDER),
    Try("", "/orders", "POST", {**JSON, "apikey": KEY}, ORDER),
    Try("no route", "/admin"),
)


def port_near(wanted: int, taken: set[int]) -> int:
    """Return ``wanted`` when it is free, else any free port."""
    for candidate in (wanted, 0, 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            port = int(probe.getsockname()[1])
        if port not in taken:
            taken.add(port)
            return port
    raise SystemExit("no free port on loopback")


def start(
    stack: ExitStack, log: Path, command: list[str], env: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Run a server until ``stack`` unwinds; it writes to ``log``."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=HERE,
            env={**os.environ, **env},
            stdout=out,
            stderr=out,
        )
    stack.callback(stop, process)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ask(port: int, what: Try) -> str:
    """Return the answer as curl -i prints it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(what.method, what.path, what.body or None, what.headers)
        answer = connection.getresponse()
        head = [f"HTTP/1.1 {answer.status} {answer.reason}"]
        head += [f"{name}: {value}" for name, value in answer.getheaders()]
        return "\n".join([*head, "", answer.read().decode()])
    finally:
        connection.close()


def wait_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if ask(port, Try("", "/health")).startswith("HTTP/1.1 200"):
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise SystemExit(f"no answer on port {port}:\n{log.read_text()}")


def start_all(stack: ExitStack, log: Path) -> tuple[int, int]:
    """Return the ports of the in-process shop and of the gateway."""
    taken: set[int] = set()
    inside, first, second, gateway = (port_near(port, taken) for port in (8000, 8001, 8002, 9080))
    uvicorn = ["uvicorn", "--no-access-log", "--log-level", "warning"]
    services = {
        inside: ("main:app", {"SHOP_KEY": KEY}),
        first: ("shop:app", {"SHOP_INSTANCE": "shop-1"}),
        second: ("shop:app", {"SHOP_INSTANCE": "shop-2"}),
    }
    started = {
        port: start(stack, log, [*uvicorn, app, "--port", str(port)], env)
        for port, (app, env) in services.items()
    }
    for port, process in started.items():
        wait_ready(port, process, log)
    addresses = {
        "GATEWAY_ADDRESS": f"127.0.0.1:{gateway}",
        "SHOP_NODE_1": f"127.0.0.1:{first}",
        "SHOP_NODE_2": f"127.0.0.1:{second}",
        "SHOP_KEY": KEY,
    }
    process = start(stack, log, ["pingsix_asgi", "run", "-c", "gateway.yaml"], addresses)
    wait_ready(gateway, process, log)
    return inside, gateway


def show(title: str, port: int, tries: tuple[Try, ...]) -> None:
    print(f"\n== {title} ==")
    for what in tries:
        print(f"\n# {what.about}" if what.about else "")
        print(f"$ {what.curl(port)}")
        print(ask(port, what).rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Try the example shop.")
    parser.add_argument("--once", action="store_true", help="stop after the curl lines")
    once = parser.parse_args().once
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        log = Path(folder) / "servers.log"
        try:
            inside, gateway = start_all(stack, log)
            show("In-process: app = PingSIX(app, config=policies.yaml)", inside, IN_PROCESS)
            show("Standalone: a gateway in front of two replicas", gateway, STANDALONE)
            if not once:
                print("\nBoth go on running; Ctrl-C stops them.", flush=True)
                signal.pause()
        except KeyboardInterrupt:
            print("\nStopping.")


if __name__ == "__main__":
    main()
