"""What loggers write and metrics count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.conformance import Bench
from support.processes import wait_until


@pytest.fixture
def gateway(bench: Bench) -> Iterator[Bench]:
    yield bench
    for node in bench.nodes.values():
        node.received.clear()
    bench.clear()


def lines(path: Path, count: int) -> list[Any]:
    """Wait for so many lines in a file."""
    wait_until(lambda: path.exists() and len(path.read_text().splitlines()) >= count, "logged")
    return [json.loads(line) for line in path.read_text().splitlines()]


def routed(bench: Bench, plugin: str, conf: dict[str, Any]) -> None:
    answer = bench.put("routes/1", {"uri": "/hello", "plugins": {plugin: conf}})
    assert answer.is_success, answer.text
    bench.settle()


def test_file_logger_default_entry(gateway: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file.log"
    options = {"path": str(path), "include_req_body": True, "include_resp_body": True}
    routed(gateway, "file-logger", options)
    gateway.send("POST", "/hello?a=b", content=b"abcdef", headers={"x-a": "1"})
    (entry,) = lines(path, 1)
    assert entry["request"]["method"] == "POST"
    assert entry["request"]["uri"] == "/hello?a=b"
    assert entry["request"]["url"] == f"http://127.0.0.1:{gateway.port}/hello?a=b"
    assert entry["request"]["querystring"] == {"a": "b"}
    assert entry["request"]["headers"]["x-a"] == "1"
    assert entry["request"]["body"] == "abcdef"
    assert entry["response"]["status"] == 200
    assert entry["response"]["body"] == "hello world\n"
    assert entry["response"]["headers"]["content-type"] == "text/plain"
    assert entry["route_id"] == "1"
    assert entry["client_ip"] == "127.0.0.1"
    assert entry["upstream"] == gateway.nodes["A"].address
    assert entry["latency"] >= entry["upstream_latency"] >= 0
    assert isinstance(entry["start_time"], int)
    assert entry["server"].keys() == {"hostname", "version"}
    assert entry["request"]["size"] > 0 < entry["response"]["size"]


def test_log_formats(gateway: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file.log"
    form = {"host": "$host", "case": "conf", "client": {"ip": "$remote_addr"}, "none": "$http_none"}
    gateway.put(
        "plugin_metadata/file-logger", {"log_format": {"case": "metadata", "ip": "$remote_addr"}}
    )
    routed(gateway, "file-logger", {"path": str(path)})
    gateway.send("GET", "/hello")
    routed(gateway, "file-logger", {"path": str(path), "log_format": form})
    gateway.send("GET", "/hello")
    first, second = lines(path, 2)
    assert first == {"case": "metadata", "ip": "127.0.0.1", "route_id": "1"}
    assert second == {
        "host": "127.0.0.1",
        "case": "conf",
        "client": {"ip": "127.0.0.1"},
        "route_id": "1",
    }


def test_file_logger_logs_what_matches(gateway: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file.log"
    options = {"path": str(path), "match": [[["arg_name", "==", "jack"]], [["arg_all", "==", "1"]]]}
    routed(gateway, "file-logger", options)
    for query in ("name=rose", "name=jack", "all=1"):
        gateway.send("GET", f"/hello?{query}")
    assert [entry["request"]["uri"] for entry in lines(path, 2)] == [
        "/hello?name=jack",
        "/hello?all=1",
    ]


def test_file_logger_writes_what_the_client_asked_for(gateway: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file.log"
    plugins = {
        "file-logger": {"path": str(path), "log_format_extra": {"code": "$status"}},
        "proxy-rewrite": {"uri": "/name"},
    }
    gateway.put("routes/1", {"uri": "/hello", "plugins": plugins})
    gateway.settle()
    gateway.send("GET", "/hello?a=%20b")
    (entry,) = lines(path, 1)
    assert entry["request"]["uri"] == "/hello?a=%20b"
    assert entry["code"] == 200
    assert "consumer" not in entry
    assert '"method":"GET"' in path.read_text()


def test_file_logger_adds_fields_to_its_entry(gateway: Bench, tmp_path: Path) -> None:
    path, port = tmp_path / "file.log", gateway.nodes["A"].server_port
    extra = {"upstream_host": "$upstream_unresolved_host"}
    gateway.put("plugin_metadata/file-logger", {"path": str(path), "log_format_extra": extra})
    nodes = {f"localhost:{port}": 1}
    upstream = {"type": "roundrobin", "nodes": nodes}
    gateway.put("routes/1", {"uri": "/hello", "plugins": {"file-logger": {}}, "upstream": upstream})
    gateway.settle()
    gateway.send("GET", "/hello")
    (entry,) = lines(path, 1)
    assert (entry["upstream_host"], entry["upstream"]) == ("localhost", f"127.0.0.1:{port}")
    assert entry["request"]["method"] == "GET"
    routed(gateway, "file-logger", {"path": f"{path}-2", "log_format_extra": {"mine": "x"}})
    gateway.send("GET", "/hello")
    (entry,) = lines(Path(f"{path}-2"), 1)
    assert entry["mine"] == "x"
    assert "upstream_host" not in entry
    form = {"log_format": {"said": "$resp_body"}, "log_format_extra": {"mine": "x"}}
    routed(gateway, "file-logger", {"path": f"{path}-3", "include_resp_body": True, **form})
    gateway.send("GET", "/hello")
    assert lines(Path(f"{path}-3"), 1) == [{"said": "hello world\n", "route_id": "1"}]


def test_a_nested_format_ends_at_its_fifth_level(gateway: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file.log"
    form = {"a": {"b": {"c": {"d": {"e": {"f": "$host"}}}}}, "answer": {"status": "$status"}}
    routed(gateway, "file-logger", {"path": str(path), "log_format": form})
    gateway.send("GET", "/hello")
    (entry,) = lines(path, 1)
    assert entry == {
        "a": {"b": {"c": {"d": {"e": {}}}}},
        "answer": {"status": 200},
        "route_id": "1",
    }


def test_bodies_are_logged_when_an_expression_holds(gateway: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file.log"
    condition = {"include_resp_body": True, "include_resp_body_expr": [["arg_foo", "==", "bar"]]}
    routed(gateway, "file-logger", {"path": str(path), **condition})
    gateway.send("GET", "/hello?foo=bar")
    gateway.send("GET", "/hello")
    with_body, without = lines(path, 2)
    assert with_body["response"]["body"] == "hello world\n"
    assert "body" not in without["response"]


@pytest.mark.parametrize("method", ["json", "new_line"])
def test_http_logger(gateway: Bench, method: str) -> None:
    node = gateway.nodes["B"]
    options = {
        "uri": f"http://{node.address}/collect?token=x",
        "auth_header": "Basic abc",
        "concat_method": method,
        "batch_max_size": 2,
        "log_format": {"uri": "$request_uri"},
    }
    routed(gateway, "http-logger", options)
    for number in range(2):
        gateway.send("GET", f"/hello?n={number}")
    wait_until(lambda: node.received, "collected")
    (got,) = node.received
    assert (got["method"], got["uri"]) == ("POST", "/collect?token=x")
    assert got["headers"]["authorization"] == "Basic abc"
    wanted = [{"uri": f"/hello?n={number}", "route_id": "1"} for number in range(2)]
    if method == "json":
        assert got["headers"]["content-type"] == "application/json"
        assert json.loads(got["body"]) == wanted
    else:
        assert got["headers"]["content-type"] == "text/plain"
        assert [json.loads(line) for line in got["body"].splitlines()] == wanted


def test_http_logger_sends_one_entry_as_an_object(gateway: Bench) -> None:
    node = gateway.nodes["B"]
    options = {"uri": f"http://{node.address}/collect", "batch_max_size": 1}
    routed(gateway, "http-logger", options)
    gateway.send("GET", "/hello")
    wait_until(lambda: node.received, "collected")
    assert json.loads(node.received[0]["body"])["route_id"] == "1"


def wrong(field: str, reason: str) -> str:
    return f'property "{field}" validation failed: {reason}'


@pytest.mark.parametrize(
    ("plugin", "conf", "text"),
    [
        (
            "file-logger",
            {"path": 1},
            wrong("path", "wrong type: expected string, got number"),
        ),
        ("http-logger", {}, 'property "uri" is required'),
        (
            "http-logger",
            {"uri": "http://a", "timeout": 0},
            wrong("timeout", "expected 0 to be at least 1"),
        ),
        (
            "http-logger",
            {"uri": "http://a", "concat_method": "x"},
            wrong("concat_method", "matches none of the enum values"),
        ),
    ],
)
def test_confs_are_checked(bench: Bench, plugin: str, conf: dict[str, Any], text: str) -> None:
    answer = bench.put("routes/1", {"uri": "/hello", "plugins": {plugin: conf}})
    lead = f"failed to check the configuration of plugin {plugin} err: "
    assert (answer.status_code, answer.json()) == (400, {"error_msg": lead + text})


BAD_EXPRESSION = [["arg_a", "<>", "b"]]


@pytest.mark.parametrize(
    ("plugin", "field", "value"),
    [
        ("http-logger", "include_req_body_expr", BAD_EXPRESSION),
        ("http-logger", "include_resp_body_expr", BAD_EXPRESSION),
        ("file-logger", "include_resp_body_expr", BAD_EXPRESSION),
        ("file-logger", "match", [BAD_EXPRESSION]),
    ],
)
def test_expressions_are_checked(bench: Bench, plugin: str, field: str, value: Any) -> None:
    conf = {"uri": "http://a", "path": "x", field: value}
    answer = bench.put("routes/1", {"uri": "/hello", "plugins": {plugin: conf}})
    text = f"failed to validate the '{field}' expression: invalid operator '<>'"
    lead = f"failed to check the configuration of plugin {plugin} err: "
    assert (answer.status_code, answer.json()) == (400, {"error_msg": lead + text})


def metrics(bench: Bench) -> str:
    url = f"http://127.0.0.1:{bench.metrics}/apisix/prometheus/metrics"
    return httpx2.get(url, trust_env=False).text


def test_prometheus_names_the_uri_that_matched(gateway: Bench) -> None:
    hosts = ["one.example", "two.example"]
    route = {"uris": ["/name", "/hel*"], "hosts": hosts, "plugins": {"prometheus": {}}}
    gateway.put("routes/several", route)
    gateway.settle()
    gateway.send("GET", "/hello", headers={"host": "two.example"})
    wanted = 'route="several",matched_uri="/hel*",matched_host="two.example"'
    wait_until(lambda: wanted in metrics(gateway), "counted under its pattern")
    assert 'route="several",matched_uri="/name"' not in metrics(gateway)


def test_prometheus_counts_sizes_on_wish(gateway: Bench) -> None:
    options = {"uri": "/hello", "plugins": {"prometheus": {"size_histograms": True}}}
    gateway.put("routes/sized", options)
    gateway.settle()
    gateway.send("POST", "/hello", content=b"x" * 150)
    wanted = 'apisix_http_request_size_bytes_bucket{route="sized",service="",le="1000"} 1'
    wait_until(lambda: wanted in metrics(gateway), "counted")
    assert 'apisix_http_response_size_bytes_sum{route="sized",service=""} 12' in metrics(gateway)


def test_entries_that_wait_are_a_metric(gateway: Bench) -> None:
    conf = {"uri": f"http://{gateway.nodes['B'].address}/collect", "batch_max_size": 9}
    gateway.put("routes/logged", {"uri": "/hello", "plugins": {"http-logger": conf}})
    gateway.settle()
    gateway.send("GET", "/hello")
    labels = 'name="http logger",route_id="logged",server_addr="127.0.0.1"'
    wanted = f"apisix_batch_process_entries{{{labels}}} 1"
    wait_until(lambda: wanted in metrics(gateway), "counted")


def test_prometheus(gateway: Bench) -> None:
    plugins: dict[str, Any] = {"prometheus": {}, "key-auth": {}}
    gateway.put("consumers", {"username": "jack", "plugins": {"key-auth": {"key": "k"}}})
    gateway.put("global_rules/1", {"plugins": {"prometheus": {}}})
    gateway.put("routes/observed", {"uri": "/hello", "host": "a.example", "plugins": plugins})
    gateway.settle()
    for _ in range(2):
        gateway.send("GET", "/hello", headers={"host": "a.example", "apikey": "k"})
    gateway.send("GET", "/nothing-here")
    url = f"http://127.0.0.1:{gateway.metrics}/apisix/prometheus/metrics"

    def page() -> list[str]:
        return httpx2.get(url, trust_env=False).text.splitlines()

    def value(name: str, **labels: str) -> float:
        """Sum the samples of a metric that have these labels."""
        texts = [f'{label}="{text}"' for label, text in labels.items()]
        found = [line for line in page() if line.startswith(f"{name}{{")]
        return sum(
            float(line.rpartition(" ")[2]) for line in found if all(t in line for t in texts)
        )

    labels = {"route": "observed", "consumer": "jack", "node": "127.0.0.1"}
    place = {"matched_uri": "/hello", "matched_host": "a.example", **labels}
    wait_until(
        lambda: value("apisix_http_status", code="200", **place) == 2,
        "the requests are counted once each",
    )
    assert value("apisix_http_status", code="404", route="") >= 1
    for kind in ("request", "upstream", "apisix"):
        assert value("apisix_http_latency_count", type=kind, **labels) == 2
        assert value("apisix_http_latency_bucket", type=kind, le="+Inf", **labels) == 2
    for kind in ("ingress", "egress"):
        assert value("apisix_bandwidth", type=kind, **labels) > 0
    names = {line.split()[2] for line in page() if line.startswith("# TYPE ")}
    assert names >= {
        "apisix_bandwidth",
        "apisix_http_latency",
        "apisix_http_requests_total",
        "apisix_http_status",
        "apisix_node_info",
    }


@pytest.mark.parametrize(
    ("uri", "rewritten", "priority"), [("/collect", "/hello", 1008), ("/hello", "/collect", 1011)]
)
def test_the_mirror_gets_the_path_of_its_turn(
    gateway: Bench, uri: str, rewritten: str, priority: int
) -> None:
    mirror = gateway.nodes["B"]
    plugins: dict[str, Any] = {
        "proxy-mirror": {"host": f"http://{mirror.address}"},
        "proxy-rewrite": {
            "uri": rewritten,
            "headers": {"x-a": "b"},
            "_meta": {"priority": priority},
        },
    }
    gateway.put("routes/1", {"uri": uri, "plugins": plugins})
    gateway.settle()
    gateway.send("GET", f"{uri}?n=1")
    wait_until(lambda: mirror.received, "mirrored")
    assert mirror.received[0]["uri"] == "/collect?n=1"
    assert mirror.received[0]["headers"]["x-a"] == "b"
