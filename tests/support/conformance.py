"""Cases of observable behaviour as data, and the real gateway they are driven against.

A case is resources to PUT, then steps: requests to the data plane or to the Admin API, each with
what is expected of the answer. Fields of a step:

- ``get: /path`` (any method name in lower case), with ``headers``, ``body`` or ``json``, ``times``;
- ``put: admin/routes/1`` and the like go to the Admin API with its key;
- ``status`` (default 200), ``text`` (whole body), ``like`` (a pattern searched in it), ``document``
  (the whole body as JSON), ``error`` (``error_msg`` of the body, whole), ``has`` (a part of the
  JSON body), ``answer`` (headers: text, null for absent, or ``~pattern``),
  ``upstream`` (what the node got: ``node``, ``uri``, ``method``, ``body``, ``headers``).

``{A}``, ``{B}`` and ``{C}`` stand for the addresses of three nodes, ``{closed}`` for one that
refuses. A route without an upstream gets node A; ``upstream: null`` leaves it without.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import httpx2
import yaml

from support.processes import DEADLINE_S, Process, free_port, gateway, get, wait_until

Step: TypeAlias = dict[str, Any]
KEY = "edd1c9f034335f136f87ad84b625c8f1"
_METHODS = ("get", "head", "put", "post", "patch", "delete", "options", "purge", "trace")
_ROUTE_TARGETS = ("upstream", "upstream_id", "service_id")
_KINDS = (
    "routes",
    "global_rules",
    "services",
    "upstreams",
    "plugin_configs",
    "consumers",
    "consumer_groups",
    "plugin_metadata",
    "ssls",
    "protos",
    "secrets/vault",
)
"""In an order in which they can be deleted."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a file."""

    name: str
    resources: Mapping[str, Any]
    steps: tuple[Step, ...]


def cases(path: Path) -> list[Case]:
    """Read the cases of a file."""
    found = yaml.safe_load(path.read_text())
    return [
        Case(entry["case"], entry.get("resources", {}), tuple(entry.get("steps", ())))
        for entry in found
    ]


class Node(ThreadingHTTPServer):
    """Answers with what it got; ``/hello`` is a fixed text, some paths do as their query says."""

    daemon_threads = True

    def __init__(self, name: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Answer)
        self.name = name
        self.received: list[dict[str, Any]] = []
        """What came to ``/collect``: bodies of log plugins."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Node]:
        with self:
            thread = threading.Thread(target=self.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield self
            finally:
                self.shutdown()
                thread.join()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Node

    def _serve(self) -> None:
        body = self._body()
        parts = urlsplit(self.path)
        options = dict(parse_qsl(parts.query))
        got = {
            "node": self.server.name,
            "method": self.command,
            "uri": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode("latin-1"),
        }
        status, headers, content = 200, {"content-type": "application/json"}, json.dumps(got)
        match parts.path.split("/")[1:]:
            case ["hello"]:
                headers, content = {"content-type": "text/plain"}, "hello world\n"
            case ["name"]:
                headers, content = {"content-type": "text/plain"}, self.server.name
            case ["status", code]:
                status = int(code)
                headers, content = {"content-type": "text/plain"}, f"status {code}\n"
            case ["headers"]:
                headers |= options
            case ["slow"]:
                time.sleep(float(options.get("s", "0.4")))
            case ["collect"]:
                self.server.received.append(got)
            case ["page"]:
                headers, content = {"content-type": options.get("type", "text/html")}, "x" * 4000
        self._reply(status, headers, content.encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve
    do_PURGE = do_TRACE = _serve

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _reply(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


class Bench:
    """A running gateway, its Admin API, three nodes, and a client for all of it."""

    def __init__(self, folder: Path, nodes: list[Node]) -> None:
        self.folder = folder
        self.nodes = {node.name: node for node in nodes}
        self.port, self.admin, self.status, self.metrics = (free_port() for _ in range(4))
        self._places = {name: node.address for name, node in self.nodes.items()}
        self._places |= {
            "closed": f"127.0.0.1:{free_port()}",
            "folder": str(folder),
            "gateway": f"127.0.0.1:{self.port}",
            "metrics": f"127.0.0.1:{self.metrics}",
        }
        self._client = httpx2.Client(timeout=DEADLINE_S, trust_env=False)
        self._round = 0

    @classmethod
    @contextlib.contextmanager
    def running(cls, folder: Path) -> Iterator[Bench]:
        """Start everything; stop it at the end."""
        with contextlib.ExitStack() as stack:
            nodes = [stack.enter_context(Node(name).running()) for name in "ABC"]
            bench = cls(folder, nodes)
            stack.callback(bench._client.close)
            stack.enter_context(bench._start())
            yield bench

    def _start(self) -> Process:
        path = self.folder / "gateway.yaml"
        settings = {
            "store": f"sqlite:///{self.folder / 'store.db'}",
            "listeners": [{"address": f"127.0.0.1:{self.port}"}],
            "status": {"address": f"127.0.0.1:{self.status}"},
            "prometheus": {"address": f"127.0.0.1:{self.metrics}"},
            "admin": {"address": f"127.0.0.1:{self.admin}", "api_key": KEY},
            "trusted_addresses": ["127.0.0.0/8"],
            "grace_period": 1,
        }
        path.write_text(yaml.safe_dump({"pingsix": settings}))
        process = gateway("run", "-c", str(path), env={"CONFORMANCE_KEY": "from-the-environment"})
        process.wait_for_port(self.admin)
        process.wait_for_port(self.status)
        process.wait_for(lambda: get(self.status, "/status/ready")[0] == 200, "ready")
        return process

    def run(self, case: Case) -> None:
        """Put the resources of a case, go through its steps, and take everything away again."""
        try:
            for path, document in self.filled(case.resources).items():
                answer = self.put(path, document)
                assert answer.status_code in (200, 201), f"{path}: {answer.text}"
            self.settle()
            for number, step in enumerate(self.filled(list(case.steps)), 1):
                for _ in range(step.get("times", 1)):
                    self._take(step, number)
        finally:
            self.clear()

    def filled(self, value: Any) -> Any:
        """Return a document with the addresses in the places that stand for them."""
        match value:
            case str():
                for name, text in self._places.items():
                    value = value.replace(f"{{{name}}}", text)
                return value
            case dict():
                return {self.filled(key): self.filled(item) for key, item in value.items()}
            case list():
                return [self.filled(item) for item in value]
        return value

    def put(self, path: str, document: Any) -> httpx2.Response:
        """PUT a resource; a route without an upstream gets node A."""
        if path.startswith("routes/") and isinstance(document, dict):
            if not any(name in document for name in _ROUTE_TARGETS):
                nodes = {self._places["A"]: 1}
                document = {"upstream": {"type": "roundrobin", "nodes": nodes}, **document}
            elif document.get("upstream", ...) is None:
                document = {name: value for name, value in document.items() if name != "upstream"}
        return self.manage("PUT", path, document)

    def manage(self, method: str, path: str, document: Any = None) -> httpx2.Response:
        """Send a request to the Admin API."""
        content = None if document is None else json.dumps(document)
        return self._client.request(
            method,
            f"http://127.0.0.1:{self.admin}/apisix/admin/{path}",
            content=content,
            headers={"X-API-KEY": KEY},
        )

    def send(self, method: str, target: str, **options: Any) -> httpx2.Response:
        """Send a request to the data plane. Cookies it was given are not sent back."""
        self._client.cookies.clear()
        return self._client.request(method, f"http://127.0.0.1:{self.port}{target}", **options)

    def settle(self) -> None:
        """Wait until what was written is in force: a route put last answers."""
        self._round += 1
        path = f"/in-force-{self._round}"
        answer = self.put("routes/in-force", {"uri": path, "priority": 1000, "upstream": NO_NODES})
        assert answer.status_code in (200, 201), answer.text
        wait_until(lambda: self._is_live(path), "the configuration is in force")

    def _is_live(self, path: str) -> bool:
        with httpx2.Client(timeout=DEADLINE_S, trust_env=False) as client:
            answer = client.get(f"http://127.0.0.1:{self.port}{path}")
        return answer.status_code == 503

    def clear(self) -> None:
        """Delete every resource."""
        for kind in _KINDS:
            if kind == "secrets/vault":
                continue
            listed = self.manage("GET", kind).json().get("list", [])
            for item in listed:
                name = item["key"].partition(f"/{kind}/")[2]
                answer = self.manage("DELETE", f"{kind}/{name}?force=true")
                assert answer.status_code in (200, 404), answer.text

    def _take(self, step: Step, number: int) -> None:
        if "wait" in step:
            time.sleep(step["wait"])
            return
        method = next(name for name in _METHODS if name in step)
        target = step[method]
        if target.startswith("admin/"):
            path = target.removeprefix("admin/")
            if method == "put":
                answer = self.put(path, step.get("json"))
            else:
                answer = self.manage(method.upper(), path, step.get("json"))
            expected = {"status": answer.status_code if answer.is_success else 200, **step}
            check(answer, expected, f"step {number}")
            if method != "get":
                self.settle()
            return
        options: dict[str, Any] = {"headers": step.get("headers", {})}
        if "json" in step:
            options["json"] = step["json"]
        if "body" in step:
            options["content"] = step["body"].encode()
        check(self.send(method.upper(), target, **options), step, f"step {number}")


NO_NODES = {"type": "roundrobin", "nodes": {}}


def check(answer: httpx2.Response, expected: Step, where: str) -> None:
    """Compare an answer with what a step says about it."""
    shown = f"{where}: {answer.status_code} {dict(answer.headers)} {answer.text[:2000]}"
    wanted = expected.get("status", 200)
    statuses = wanted if isinstance(wanted, list) else [wanted]
    assert answer.status_code in statuses, f"expected {wanted}; {shown}"
    if "text" in expected:
        assert answer.text == expected["text"], shown
    if "like" in expected:
        assert re.search(expected["like"], answer.text), shown
    if "unlike" in expected:
        assert not re.search(expected["unlike"], answer.text), shown
    if "document" in expected:
        assert answer.json() == expected["document"], shown
    if "error" in expected:
        assert answer.json() == {"error_msg": expected["error"]}, shown
    if "has" in expected:
        _check_part(answer.json(), expected["has"], shown)
    for name, value in expected.get("answer", {}).items():
        _check_text(answer.headers.get(name), value, f"header {name}; {shown}")
    if "upstream" in expected:
        _check_upstream(answer.json(), expected["upstream"], shown)


def _check_upstream(got: dict[str, Any], wanted: Mapping[str, Any], shown: str) -> None:
    for name, value in wanted.items():
        if name == "headers":
            for header, text in value.items():
                found = got["headers"].get(header.lower())
                _check_text(found, text, f"upstream got {header}; {shown}")
        else:
            _check_text(got[name], value, f"upstream got {name}; {shown}")


def _check_part(found: Any, wanted: Any, shown: str) -> None:
    if isinstance(wanted, dict):
        assert isinstance(found, dict), shown
        for name, value in wanted.items():
            assert name in found, f"{name} is missing; {shown}"
            _check_part(found[name], value, shown)
    else:
        assert found == wanted, f"{found!r} is not {wanted!r}; {shown}"


def _check_text(found: str | None, wanted: str | None, shown: str) -> None:
    if isinstance(wanted, str) and wanted.startswith("~"):
        assert found is not None, f"absent; {shown}"
        assert re.search(wanted[1:], found), f"{found!r} is not like {wanted!r}; {shown}"
    else:
        assert found == (None if wanted is None else str(wanted)), f"{found!r}; {shown}"
