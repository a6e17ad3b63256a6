"""The metrics listener as an ASGI app."""

from __future__ import annotations

from collections.abc import Iterator

from ..control.metrics import CONTENT_TYPE, ETCD_REACHABLE, UPSTREAM_STATUS, render_metrics
from ..control.status import Status
from ..shared.metrics import Sample
from ..snapshot.runtime import Runtime
from ..types import Receive, Scope, Send

_HEALTHY = frozenset(("healthy", "mostly_healthy"))
PATHS = frozenset(("/apisix/prometheus/metrics", "/metrics"))


class MetricsApp:
    """Answers ``/apisix/prometheus/metrics`` (APISIX's path) and ``/metrics``; 404 elsewhere."""

    def __init__(self, runtime: Runtime, status: Status) -> None:
        self._runtime = runtime
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, body = 404, b"Not Found"
        if scope["path"] in PATHS:
            status, body = 200, render_metrics(self._runtime, self._samples())
        headers = [
            (b"content-type", CONTENT_TYPE if status == 200 else b"text/plain"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": body})

    def _samples(self) -> Iterator[Sample]:
        if self._status.source == "etcd" and self._status.store is not None:
            yield Sample(ETCD_REACHABLE, float(self._status.store.is_connected))
        for upstream in self._runtime.snapshot.upstreams.values():
            for node in upstream.health():
                labels = (upstream.name, node["ip"], str(node["port"]))
                yield Sample(UPSTREAM_STATUS, float(node["status"] in _HEALTHY), labels)
