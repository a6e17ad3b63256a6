"""A small HTTP server that speaks HashiCorp Vault's key-value API, versions 1 and 2."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "root-token"


class VaultServer(ThreadingHTTPServer):
    """``kv`` is an engine of version 1, ``secret`` one of version 2."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Answer)
        self.kv: dict[str, dict[str, Any]] = {}
        self.secret: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        """Paths of all requests."""
        self.namespaces: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @classmethod
    @contextlib.contextmanager
    def running(cls, port: int = 0) -> Iterator[VaultServer]:
        with cls(port) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: VaultServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.namespaces.append(self.headers["x-vault-namespace"])
        if self.headers["x-vault-token"] != TOKEN:
            self._send(403, {"errors": ["permission denied"]})
            return
        engine, _, name = self.path.removeprefix("/v1/").partition("/")
        if engine == "kv" and name in self.server.kv:
            self._send(200, {"lease_duration": 2764800, "data": self.server.kv[name]})
        elif engine == "secret" and (key := name.removeprefix("data/")) in self.server.secret:
            metadata = {"version": 1, "destroyed": False, "deletion_time": ""}
            self._send(200, {"data": {"data": self.server.secret[key], "metadata": metadata}})
        else:
            self._send(404, {"errors": []})

    def _send(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""
