"""Count requests for Prometheus: statuses, latencies, bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable
from typing import Annotated, TypeAlias

from pydantic import Field

from ..context import Context, RouteInfo
from ..plugin.base import Host, Plugin, PluginConf
from ..shared.metrics import BUCKETS_MS, SUM_CELL, Family, gateway_metrics
from ..types import RawHeaders

_ROUTED = ("route", "service", "consumer", "node")
_MODEL = ("request_type", "request_llm_model", "llm_model")

REQUESTS = Family(
    "http_requests_total",
    "The total number of client requests since the gateway started",
    "counter",
)
STATUS = Family(
    "http_status",
    "HTTP status codes per service",
    "untyped",  # a counter, but promtool wants those to end in _total and APISIX's name does not
    ("code", "route", "matched_uri", "matched_host", *_ROUTED[1:], *_MODEL, "response_source"),
)
LATENCY = Family(
    "http_latency",
    "HTTP request latency in milliseconds per service",
    "histogram",
    ("type", *_ROUTED, *_MODEL),
)
BANDWIDTH = Family(
    "bandwidth",
    "Total bandwidth in bytes consumed per service",
    "untyped",  # as http_status
    ("type", *_ROUTED, *_MODEL),
)
_SIZES = tuple(10**power for power in range(2, 8))
_SIZED = ("route", "service")
REQUEST_SIZE = Family(
    "http_request_size_bytes", "HTTP request body size in bytes", "histogram", _SIZED, _SIZES
)
RESPONSE_SIZE = Family(
    "http_response_size_bytes", "HTTP response body size in bytes", "histogram", _SIZED, _SIZES
)
FAMILIES = (REQUESTS, STATUS, LATENCY, BANDWIDTH, REQUEST_SIZE, RESPONSE_SIZE)

_STRUCTURAL = frozenset({"code", "type", "layer"})
"""Labels that cannot be disabled: without them a metric says nothing."""
_ROWS_REMEMBERED = 4096
"""Combinations of labels whose cells are kept at hand."""
_BOUNDS = tuple(map(float, BUCKETS_MS))
"""Floats, because comparing a float with an int takes three times as long."""
Row: TypeAlias = tuple[int, ...]
"""First cells of what one combination of labels is counted in; empty when some were not had."""
_TRADITIONAL: tuple[str, ...] = ("traditional_http", "", "")
_REQUEST_LINE = len("GET  HTTP/1.1\r\n\r\n")
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
_LINE_EXTRA = len(": \r\n")
_STATUS_LINE = len("HTTP/1.1 200 OK\r\n\r\n")


class Prometheus(Plugin):
    """Count every request of its routes. The metrics listener gives the numbers out.

    Source: apisix/plugins/prometheus. ``max_label_length``, ``max_unique_paths``,
    ``max_unique_hosts`` and the histograms of sizes are PingSIX's. Differs: http_requests_total
    counts requests that this plugin saw; bytes are those of HTTP/1.1 with bodies of known length.
    """

    name = "prometheus"
    priority = 500
    needs_gateway = "the gateway's listener shows what it counts"
    run_policy = "prefer_route"

    class Conf(PluginConf):
        prefer_name: bool = False
        """Label routes and services by name; those without one by id."""
        max_label_length: Annotated[int, Field(ge=1)] | None = None
        """Characters of a label's value; longer ones are cut and end in "..."."""
        max_unique_paths: Annotated[int, Field(ge=1)] | None = None
        """Different values of matched_uri; further ones are "/..."."""
        max_unique_hosts: Annotated[int, Field(ge=1)] | None = None
        """Different values of matched_host; further ones are "*"."""
        size_histograms: bool = False
        """Count the bytes of bodies in http_request_size_bytes and http_response_size_bytes."""

    class Metadata(PluginConf):
        disabled_labels: Annotated[dict[str, list[str]], Field(default_factory=dict)]
        """Labels to leave empty, by metric."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._has_sizes = conf.size_histograms
        self._rows: dict[Hashable, Row] = {}
        self._uris: set[str] = set()
        self._hosts: set[str] = set()

    def setup(self, host: Host) -> None:
        self._metrics = gateway_metrics(host)
        self._now = host.clock.monotonic
        metadata = host.metadata()
        disabled = metadata.disabled_labels if isinstance(metadata, self.Metadata) else {}
        self._blank = {name: frozenset(labels) - _STRUCTURAL for name, labels in disabled.items()}

    def log(self, ctx: Context) -> None:
        row = self._row(ctx)
        if not row:
            return  # the sheet is full
        total, status, request, forwarded, own, ingress, egress = row
        cells = self._metrics.sheet.cells
        cells[total] += 1.0
        cells[status] += 1.0
        latency_ms = (self._now() - ctx.started) * 1000.0
        bucket = bisect_left(_BOUNDS, latency_ms)
        cells[request + bucket] += 1.0
        cells[request + SUM_CELL] += latency_ms
        upstream = ctx.upstream
        if upstream is not None:
            upstream_ms = upstream.response_s * 1000.0
            cells[forwarded + bisect_left(_BOUNDS, upstream_ms)] += 1.0
            cells[forwarded + SUM_CELL] += upstream_ms
            latency_ms = latency_ms - upstream_ms if latency_ms > upstream_ms else 0.0
            bucket = bisect_left(_BOUNDS, latency_ms)
        cells[own + bucket] += 1.0
        cells[own + SUM_CELL] += latency_ms
        cells[ingress] += _request_bytes(ctx)
        cells[egress] += ctx.bytes_sent + _head_bytes(ctx.response.headers.raw) + _STATUS_LINE
        if self._has_sizes:
            self._count_sizes(ctx)

    def _count_sizes(self, ctx: Context) -> None:
        labels, cells = self._names(ctx.match.info), self._metrics.sheet.cells
        for family, size in ((REQUEST_SIZE, _body_bytes(ctx)), (RESPONSE_SIZE, ctx.bytes_sent)):
            cell = self._series(family, labels)
            if cell is not None:
                cells[cell + bisect_left(_SIZES, size)] += 1.0
                cells[cell + len(_SIZES) + 1] += size

    def _names(self, info: RouteInfo) -> tuple[str, str]:
        """Return what route and service are called."""
        by_name = self._conf.prefer_name
        route = (info.route_name if by_name else "") or info.route_id
        return route, (info.service_name if by_name else "") or info.service_id

    def _row(self, ctx: Context) -> Row:
        info, upstream, overrides = ctx.match.info, ctx.upstream, ctx.vars
        model = _TRADITIONAL
        if overrides is not None and "request_type" in overrides:
            model = tuple(str(overrides.get(name, "")) for name in _MODEL)
        key = (
            info,
            ctx.status,
            matched_host(info.hosts, ctx.request.host) if info.hosts else "",
            "" if ctx.consumer is None else ctx.consumer.username,
            "" if ctx.node is None else ctx.node.address,
            "apisix" if upstream is None else "upstream" if upstream.status else "nginx",
            model,
        )
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= _ROWS_REMEMBERED:
                self._rows.clear()
            row = self._rows[key] = self._make_row(*key)
        return row

    def _make_row(  # noqa: PLR0913 - the labels of one series
        self,
        info: RouteInfo,
        status: int,
        host: str,
        consumer: str,
        node: str,
        source: str,
        model: tuple[str, ...],
    ) -> Row:
        route, service = self._names(info)
        routed = (route, service, consumer, node, *model)
        uri = _bounded(self._uris, info.uri, self._conf.max_unique_paths, "/...")
        host = _bounded(self._hosts, host, self._conf.max_unique_hosts, "*")
        labels = (str(status), route, uri, host, service, consumer, node, *model, source)
        cells = (
            self._metrics.series(REQUESTS, ()),
            self._series(STATUS, labels),
            *(self._series(LATENCY, (kind, *routed)) for kind in ("request", "upstream", "apisix")),
            *(self._series(BANDWIDTH, (kind, *routed)) for kind in ("ingress", "egress")),
        )
        known = tuple(cell for cell in cells if cell is not None)
        return known if len(known) == len(cells) else ()

    def _series(self, family: Family, values: tuple[str, ...]) -> int | None:
        longest, blank = self._conf.max_label_length, self._blank.get(family.name, frozenset())
        labels = [
            "" if name in blank else value
            for name, value in zip(family.labels, values, strict=True)
        ]
        if longest is not None:
            labels = [_cut(value, longest) for value in labels]
        return self._metrics.series(family, tuple(labels))


def matched_host(hosts: tuple[str, ...], host: str) -> str:
    """Return which of a route's host patterns the request's host matched; "" when it has none."""
    if host in hosts:
        return host
    return next((one for one in hosts if one[:1] == "*" and host.endswith(one[1:])), "")


def _request_bytes(ctx: Context) -> int:
    request = ctx.request
    size = len(request.method) + len(request.target) + len(request.query) + _REQUEST_LINE
    if request.method not in _BODILESS:
        size += _body_bytes(ctx)
    return size + _head_bytes(request.headers.raw)


def _body_bytes(ctx: Context) -> int:
    length = ctx.request.headers.get(b"content-length") or b""
    return int(length) if length.isdigit() else 0


def _head_bytes(raw: RawHeaders) -> int:
    size = _LINE_EXTRA * len(raw)
    for name, value in raw:
        size += len(name) + len(value)
    return size


def _bounded(known: set[str], value: str, most: int | None, other: str) -> str:
    if most is None or value in known:
        return value
    if len(known) >= most:
        return other
    known.add(value)
    return value


def _cut(value: str, longest: int) -> str:
    return value if len(value) <= longest else value[:longest] + "..."
