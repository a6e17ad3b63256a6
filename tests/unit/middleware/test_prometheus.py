"""prometheus: what is counted, under which labels, and how it reads."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pingsix_asgi.adapters import LoneHost
from pingsix_asgi.context import Context, Request
from pingsix_asgi.control.metrics import UPSTREAM_STATUS, render_metrics
from pingsix_asgi.middleware.prometheus import Prometheus, matched_host
from pingsix_asgi.shared.metrics import Sample
from pingsix_asgi.shared.place import DIRECTORY_VARIABLE
from pingsix_asgi.snapshot.match import Info
from pingsix_asgi.testing import Client, FakeClock, PluginMiddleware, together

ROUTE = Info(
    route_id="r1",
    route_name="first",
    service_id="s1",
    service_name="svc",
    uri="/a/*",
    hosts=("*.a.test", "b.test"),
)


class Bench:
    """A plugin instance with a host, and requests that end as told."""

    def __init__(self, metadata: Any = None, **options: Any) -> None:
        self.kept: dict[Any, Any] = {}
        self.clock = FakeClock()
        host = LoneHost(Prometheus, self.clock, self.kept)
        host.load_metadata(metadata)
        self.host = host
        self.plugin = Prometheus(Prometheus.Conf(**options))
        self.plugin.setup(host)

    def request(self, status: int = 200, info: Any = ROUTE, **attributes: Any) -> None:
        scope = {"type": "http", "method": "POST", "headers": [(b"content-length", b"10")]}
        request = Request(scope, "/a/x", b"/a/x", "x.a.test")
        ctx = Context(scope, None, None, request)  # type: ignore[arg-type]  # nothing is sent here
        ctx.match = SimpleNamespace(info=info)  # type: ignore[assignment]
        ctx.started = self.clock.now - 0.030
        ctx.status = status
        ctx.bytes_sent = 100
        for name, value in attributes.items():
            setattr(ctx, name, value)
        self.plugin.log(ctx)

    def page(self, *samples: Sample) -> str:
        return render_metrics(self.host, samples).decode()

    def value(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(self.page()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return None


def test_a_request_is_counted_in_every_metric() -> None:
    bench = Bench()
    upstream = SimpleNamespace(status=200, response_s=0.02)
    node = SimpleNamespace(address="10.0.0.1")
    consumer = SimpleNamespace(username="jack")
    for _ in range(2):
        bench.request(200, upstream=upstream, node=node, consumer=consumer)
    labels = {
        "code": "200",
        "route": "r1",
        "matched_uri": "/a/*",
        "matched_host": "*.a.test",
        "service": "s1",
        "consumer": "jack",
        "node": "10.0.0.1",
        "request_type": "traditional_http",
        "response_source": "upstream",
    }
    assert bench.value("apisix_http_status", **labels) == 2
    assert bench.value("apisix_http_requests_total") == 2
    assert bench.value("apisix_http_latency_count", type="request", route="r1") == 2
    assert bench.value("apisix_http_latency_sum", type="request") == pytest.approx(60)
    assert bench.value("apisix_http_latency_sum", type="upstream") == pytest.approx(40)
    assert bench.value("apisix_http_latency_sum", type="apisix") == pytest.approx(20)
    assert bench.value("apisix_http_latency_bucket", type="request", le="20") == 0
    assert bench.value("apisix_http_latency_bucket", type="request", le="50") == 2
    assert bench.value("apisix_http_latency_bucket", type="request", le="+Inf") == 2
    assert (bench.value("apisix_bandwidth", type="egress") or 0) >= 200
    assert (bench.value("apisix_bandwidth", type="ingress") or 0) >= 20


@pytest.mark.parametrize(
    ("upstream", "source"),
    [
        (None, "apisix"),
        (SimpleNamespace(status=0, response_s=0.0), "nginx"),
        (SimpleNamespace(status=502, response_s=0.0), "upstream"),
    ],
)
def test_where_the_response_came_from(upstream: Any, source: str) -> None:
    bench = Bench()
    bench.request(502, upstream=upstream)
    assert bench.value("apisix_http_status", code="502", response_source=source) == 1


def test_names_in_place_of_ids() -> None:
    bench = Bench(prefer_name=True)
    bench.request()
    nameless = replace(ROUTE, route_name="", route_id="r2")
    bench.request(info=nameless)
    assert bench.value("apisix_http_status", route="first", service="svc") == 1
    assert bench.value("apisix_http_status", route="r2") == 1


def test_labels_are_bounded_as_told() -> None:
    bench = Bench(max_unique_paths=1, max_unique_hosts=1, max_label_length=4)
    bench.request()
    other = replace(ROUTE, uri="/b", hosts=("x.a.test",), route_id="abcdefgh")
    bench.request(info=other)
    assert bench.value("apisix_http_status", matched_uri="/a/*", matched_host="*.a....") == 1
    assert bench.value("apisix_http_status", matched_uri="/...", matched_host="*") == 1
    assert bench.value("apisix_http_status", route="abcd...") == 1


def test_metadata_blanks_labels_but_not_the_structural_ones() -> None:
    metadata = {"disabled_labels": {"http_status": ["route", "code"], "bandwidth": ["route"]}}
    bench = Bench(metadata=metadata)
    bench.request()
    assert bench.value("apisix_http_status", route="", code="200") == 1
    assert bench.value("apisix_bandwidth", route="", type="egress")
    assert bench.value("apisix_http_latency_count", route="r1", type="request") == 1


def test_sizes_are_counted_on_wish() -> None:
    bench = Bench()
    bench.request()
    assert "size_bytes" not in bench.page()
    bench = Bench(size_histograms=True, prefer_name=True)
    bench.request()
    bench.request(bytes_sent=20_000_000)
    labels = {"route": "first", "service": "svc"}
    for name, bound, count, total in (
        ("request", "100", 2, 20),
        ("response", "100", 1, 20_000_100),
        ("response", "10000000", 1, 20_000_100),
        ("response", "+Inf", 2, 20_000_100),
    ):
        found = f"apisix_http_{name}_size_bytes"
        assert bench.value(f"{found}_bucket", le=bound, **labels) == count
        assert bench.value(f"{found}_sum", **labels) == total
        assert bench.value(f"{found}_count", **labels) == 2


def test_model_labels_come_from_variables() -> None:
    bench = Bench()
    bench.request(vars={"request_type": "ai_chat", "llm_model": "m", "request_llm_model": "q"})
    assert bench.value("apisix_http_status", request_type="ai_chat", llm_model="m") == 1


def test_the_page_is_well_formed_and_escapes_labels() -> None:
    bench = Bench()
    bench.request(info=replace(ROUTE, route_id='a"b\\c\nd'))
    page = bench.page(Sample(UPSTREAM_STATUS, 1.0, ("u1", "10.0.0.1", "80")))
    assert 'route="a\\"b\\\\c\\nd"' in page
    assert 'apisix_upstream_status{name="u1",ip="10.0.0.1",port="80"} 1' in page
    assert re.search(r'apisix_node_info\{hostname="[^"]+",version="[^"]+"\} 1', page)
    names = re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)
    assert len(names) == len(set(names))
    assert names == re.findall(r"^# HELP (\S+)", page, re.MULTILINE)
    assert page.endswith("\n")


@pytest.mark.parametrize(
    ("hosts", "host", "expected"),
    [((), "a", ""), (("a",), "a", "a"), (("*.a", "b"), "x.a", "*.a"), (("b",), "x", "")],
)
def test_matched_host(hosts: tuple[str, ...], host: str, expected: str) -> None:
    assert matched_host(hosts, host) == expected


async def test_it_works_alone_and_two_gateways_share_nothing() -> None:
    apps = [together({Prometheus: {}}) for _ in range(2)]
    await Client(apps[0]).get()
    assert [requests_of(app) for app in apps] == [1, 0]


async def test_workers_of_a_machine_add_up(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    apps = [together({Prometheus: {}}) for _ in range(2)]
    for app in (apps[0], apps[1], apps[1]):
        await Client(app).get()
    assert [requests_of(app) for app in apps] == [3, 3]
    await Client(apps[0]).lifespan()
    assert requests_of(apps[1]) == 3
    again = together({Prometheus: {}})
    await Client(again).get()
    assert requests_of(apps[1]) == 4
    for app in (again, apps[1]):
        await Client(app).lifespan()


def requests_of(app: PluginMiddleware) -> int:
    host = LoneHost(Prometheus, FakeClock(), app._kept)
    page = render_metrics(host).decode()
    found = re.search(r"^apisix_http_requests_total (\d+)$", page, re.MULTILINE)
    return int(found[1]) if found else 0
