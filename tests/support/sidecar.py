"""A gateway process with its configuration file, in front of a small service."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from support.processes import Process, accepts, free_port, gateway, get, wait_until

SLOW_S = 1.0
"""How long the service takes for ``/slow``."""


class Service(ThreadingHTTPServer):
    """Answers with what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.arrived: list[str] = []
        """Paths of all requests, from the moment they arrived."""

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Service]:
        with cls() as service:
            thread = threading.Thread(target=service.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield service
            finally:
                service.shutdown()
                thread.join()

    def wait_for_slow(self, count: int) -> None:
        """Wait until so many slow requests are being worked on."""
        wait_until(lambda: self.arrived.count("/slow") >= count, f"{count} slow requests")


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        self.server.arrived.append(self.path)
        if self.path == "/slow":
            time.sleep(SLOW_S)
        body = json.dumps({"path": self.path, "host": self.headers["host"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


class Files:
    """A configuration file with one route to a service, and the ports it names."""

    def __init__(self, folder: Path, service: Service) -> None:
        self.path = folder / "gateway.yaml"
        self.port, self.status, self.metrics = free_port(), free_port(), free_port()
        nodes = {f"127.0.0.1:{service.server_port}": 1}
        self.document: dict[str, Any] = {
            "pingsix": {
                "listeners": [{"address": f"127.0.0.1:{self.port}"}],
                "status": {"address": f"127.0.0.1:{self.status}"},
                "prometheus": {"address": f"127.0.0.1:{self.metrics}"},
                "grace_period": 10,
            },
            "routes": [{"id": "1", "uri": "/*", "upstream": {"nodes": nodes}}],
        }
        self.write()

    def write(self, **changes: Any) -> None:
        """Replace sections of the file, in one step as editors do."""
        self.document = {**self.document, **changes}
        fresh = self.path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(self.document))
        fresh.replace(self.path)

    def set(self, **settings: Any) -> None:
        """Change settings."""
        self.write(pingsix={**self.document["pingsix"], **settings})

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> Process:
        """Start the gateway."""
        return gateway("run", "-c", str(self.path), *arguments, env=env)

    @contextlib.contextmanager
    def running(self, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Process]:
        """Start the gateway and wait until it is ready."""
        with self.run(*arguments, env=env) as process:
            process.wait_for(self.is_ready, "ready")
            yield process

    def is_ready(self) -> bool:
        """Tell whether the status listener says so."""
        return accepts(self.status) and get(self.status, "/status/ready")[0] == 200

    def report(self) -> Any:
        """Return what the status listener tells of the configuration."""
        return json.loads(get(self.status, "/status/config")[2])
