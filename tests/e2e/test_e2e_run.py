"""The command line as users have it: processes, real sockets, signals."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from pingsix_asgi import __version__
from support.pki import PKI
from support.processes import Process, accepts, free_port, gateway, get, wait_until
from support.sidecar import Files, Service


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.running() as service:
        yield service


@pytest.fixture
def files(tmp_path: Path, service: Service) -> Files:
    return Files(tmp_path, service)


SERVERS = [("--http", "zttp"), ("--http", "httptools"), ("--server", "granian")]


@pytest.mark.parametrize("server", SERVERS, ids=lambda arguments: arguments[-1])
def test_run_forwards_and_stops_at_once(files: Files, server: tuple[str, str]) -> None:
    with files.running(*server) as process:
        status, headers, body = get(files.port, "/books?id=7")
        assert (status, json.loads(body)["path"]) == (200, "/books?id=7")
        assert headers["server"] == f"PingSIX/{__version__}"
        connection = http.client.HTTPConnection("127.0.0.1", files.port, timeout=20)
        connection.request("GET", "/")
        answer = connection.getresponse()
        names = [name.lower() for name, _ in answer.getheaders()]
        assert names.count("date") == names.count("server") == 1
        connection.close()
        process.send(signal.SIGINT)
        assert process.wait() == 0
    assert not accepts(files.port)


def test_status_and_metrics(files: Files) -> None:
    (route,) = files.document["routes"]
    checked = {**route["upstream"], "name": "shop", "checks": {"active": {"type": "tcp"}}}
    files.write(routes=[{**route, "upstream": checked}])
    with files.running():
        assert get(files.status, "/status")[2] == '{"status": "ok"}'
        report = files.report()
        assert (report["config_source"], report["counts"]) == ("yaml", {"routes": 1})
        (node,) = report["health"]
        assert (node["name"], node["ip"], node["status"]) == ("shop", "127.0.0.1", "healthy")
        for path in ("/metrics", "/apisix/prometheus/metrics"):
            status, headers, body = get(files.metrics, path)
            assert status == 200
            assert headers["content-type"].startswith("text/plain; version=0.0.4")
            assert "node_info" in body
            assert 'apisix_upstream_status{name="shop",ip="127.0.0.1"' in body
        assert get(files.metrics, "/other")[0] == 404


def test_changes_of_the_file_go_live_and_bad_ones_do_not(files: Files) -> None:
    with files.running() as process:
        files.write(routes=[{"id": "1", "uri": "/new", "plugins": {"echo": {"body": "hello"}}}])
        wait_until(lambda: get(files.port, "/new")[2] == "hello", "the new route")
        assert get(files.port, "/old")[0] == 404
        files.write(routes=[{"id": "1", "uri": "/newer"}, {"id": "2", "uri": 5}])
        process.wait_for_text("routes/2")
        assert get(files.port, "/new")[2] == "hello"
        report = files.report()
        assert (report["degraded"], report["error_kind"]) == (True, "candidate_invalid")
        assert get(files.status, "/status/ready")[0] == 200
        files.path.write_text("routes: [")
        process.wait_for_text("gateway.yaml")
        assert get(files.port, "/new")[2] == "hello"
        files.write(routes=[{"id": "1", "uri": "/last", "plugins": {"echo": {"body": "last"}}}])
        wait_until(lambda: get(files.port, "/last")[2] == "last", "the healed file")
        assert files.report()["degraded"] is False


@pytest.mark.parametrize("server", SERVERS, ids=lambda arguments: arguments[-1])
def test_sigterm_lets_requests_in_flight_end(
    files: Files, service: Service, server: tuple[str, str]
) -> None:
    answers: list[int] = []
    with files.running(*server) as process:
        clients = [
            threading.Thread(target=lambda: answers.append(get(files.port, "/slow")[0]))
            for _ in range(5)
        ]
        for client in clients:
            client.start()
        service.wait_for_slow(5)
        process.send(signal.SIGTERM)
        wait_until(lambda: not accepts(files.port), "no more connections")
        for client in clients:
            client.join()
        assert process.wait() == 0
    assert answers == [200] * 5


def test_drain_sends_kept_connections_away_without_an_error(files: Files) -> None:
    files.set(drain_delay=1.0)
    connection = http.client.HTTPConnection("127.0.0.1", files.port, timeout=20)
    with files.running() as process:
        connection.request("GET", "/")
        first = connection.getresponse()
        first.read()
        assert not first.will_close
        process.send(signal.SIGTERM)
        wait_until(lambda: get(files.status, "/status/ready")[0] == 503, "readiness fails")
        assert json.loads(get(files.status, "/status/ready")[2])["reason"] == "draining"
        connection.request("GET", "/")  # still served, on the old and on new connections
        last = connection.getresponse()
        assert (last.status, last.will_close) == (200, True)
        last.read()
        assert get(files.port, "/")[0] == 200
        assert process.wait() == 0
    connection.close()


def test_the_grace_period_is_a_limit(files: Files, service: Service) -> None:
    files.set(grace_period=0.2)
    address = ("127.0.0.1", files.port)
    with files.running() as process, socket.create_connection(address) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        service.wait_for_slow(1)
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        assert b" 200 " not in client.recv(1000)


def test_a_second_signal_ends_the_drain(files: Files) -> None:
    files.set(drain_delay=60)
    with files.running() as process:
        process.send(signal.SIGTERM)
        process.wait_for_text("draining")
        process.send(signal.SIGTERM)
        assert process.wait() == 0


def test_environment_alone_is_a_sidecar(service: Service) -> None:
    port = free_port()
    env = {
        "PINGSIX_UPSTREAM": f"http://127.0.0.1:{service.server_port}",
        "PINGSIX_PLUGINS": '{"response-rewrite": {"headers": {"set": {"X-Side": "car"}}}}',
        "PINGSIX_LISTENERS": f"127.0.0.1:{port}",
    }
    with gateway("run", env=env) as process:
        process.wait_for_port(port)
        status, headers, body = get(port, "/hello")
        assert (status, headers["x-side"]) == (200, "car")
        assert json.loads(body)["path"] == "/hello"


def test_host_and_port_move_the_first_listener(files: Files) -> None:
    other = free_port()
    with files.running("--port", str(other)):
        assert get(other, "/")[0] == 200
        assert not accepts(files.port)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_busy_port_is_one_line(files: Files, workers: str) -> None:
    address = ("127.0.0.1", files.port)
    with socket.create_server(address), files.run("--workers", workers) as process:
        assert process.wait() == 3
        assert process.stderr == (
            f"pingsix-asgi: cannot listen on 127.0.0.1:{files.port}: Address already in use\n"
        )


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_a_port_that_is_none_is_one_line(files: Files, port: str) -> None:
    with files.run(f"--port={port}") as process:
        assert process.wait() == 2
        last = process.stderr.splitlines()[-1]
        assert last == f"pingsix-asgi run: error: argument --port: {port}: expected 0 to 65535"
        assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--workers", "0", "a number of at least 1"),
        ("--workers", "-1", "a number of at least 1"),
        ("--workers", "many", "a number of at least 1"),
        ("--log-level", "nope", "one of trace, debug, info, warn, warning, error, critical, off"),
    ],
)
def test_an_option_that_is_wrong_is_one_line(
    files: Files, option: str, value: str, expected: str
) -> None:
    with files.run(option, value) as process:
        assert process.wait() == 2
        last = process.stderr.splitlines()[-1]
        error = f"argument {option}: {value}: expected {expected}"
        assert last == f"pingsix-asgi run: error: {error}"


def test_a_bad_configuration_names_every_error(files: Files) -> None:
    files.write(
        routes=[{"id": "1", "uri": "/a", "upstream_id": "nope"}, {"id": "2"}],
        upstreams=[{"id": "u", "type": "sideways", "nodes": {"127.0.0.1:1": 1}}],
    )
    for command in (["check", "-c", str(files.path)], ["run", "-c", str(files.path)]):
        with gateway(*command) as process:
            assert process.wait() == 1
            lines = process.stderr.splitlines()
            for name in ("routes/1", "routes/2", "upstreams/u"):
                assert sum(name in line for line in lines) == 1, process.stderr
            assert all(line.startswith("pingsix-asgi: ") for line in lines)


@pytest.mark.parametrize("command", ["check", "run"])
def test_faults_of_form_settings_plugins_and_references_are_named_at_once(
    files: Files, command: str
) -> None:
    files.set(workers=0)
    files.write(
        rutes=[],
        routes=[
            {"id": "1", "uri": "/a", "upstream_id": "nope"},
            {
                "id": "2",
                "uri": 5,
                "priority": "high",
                "service_id": "gone",
                "plugins": {"limit-count": {"count": -1}, "nonsense": {}},
            },
            {"uri": "/no-id", "plugins": {"nonsense": {}}, "service_id": "gone"},
            {
                "id": "1",
                "uri": "/{",
                "priority": "high",
                "upstream": {"nodes": {"a:x": 1, "b:0": 1}},
            },
        ],
        consumers=[{"username": "jack", "group_id": "none", "plugins": {"key-auth": {"key": 1}}}],
    )
    with gateway(command, "-c", str(files.path)) as process:
        assert process.wait() == 1
        for text in (
            "pingsix: workers: ",
            "configuration: rutes: ",
            "routes: 2: id_required",
            "routes: 2.plugins.nonsense: ",
            "routes: 2.service_id: ",
            "routes/1: Duplicate routes ID",
            "routes: 3.uri: ",
            "routes: 3.priority: ",
            "routes: 3.upstream.nodes.a:x: ",
            "routes: 3.upstream.nodes.b:0: ",
            "routes/1: upstream_id: ",
            "routes/2: uri: ",
            "routes/2: priority: ",
            "routes/2: service_id: ",
            "routes/2: plugins.limit-count.count: ",
            "routes/2: plugins.nonsense: ",
            "consumers/jack: group_id: ",
            "consumers/jack: plugins.key-auth.key: ",
        ):
            count = sum(f"pingsix-asgi: {text}" in line for line in process.stderr.splitlines())
            assert count == 1, f"{text} in {process.stderr}"


def test_certificates_of_listeners_are_judged_with_the_rest(files: Files, tmp_path: Path) -> None:
    pki = PKI()
    chain, _ = pki.issue("one.test")
    _, other_key = pki.issue("two.test")
    for name, text in (("a.crt", chain), ("b.key", other_key), ("text", "hello")):
        (tmp_path / name).write_text(text)
    pairs = [("a.crt", "b.key"), ("missing.crt", "b.key"), ("a.crt", "text"), ("text", "b.key")]
    listeners = [
        {
            "address": f"127.0.0.1:{free_port()}",
            "tls": {"cert_path": str(tmp_path / cert), "key_path": str(tmp_path / key)},
        }
        for cert, key in pairs
    ]
    files.set(listeners=listeners)
    files.write(routes=[{"id": "1", "uri": "/", "plugins": {"nope": {}}}])
    lead = "pingsix-asgi: pingsix: listeners."
    expected = [
        f"{lead}0.tls.key_path: failed to parse key: it does not belong to the certificate",
        f"{lead}1.tls.cert_path: cannot read {tmp_path}/missing.crt: No such file or directory",
        f"{lead}2.tls.key_path: {tmp_path}/text is not a PEM file",
        f"{lead}3.tls.cert_path: {tmp_path}/text is not a PEM file",
        "pingsix-asgi: routes/1: plugins.nope: unknown plugin [nope]",
    ]
    for command in (["check"], ["run"], ["run", "--workers", "2"]):
        with gateway(*command, "-c", str(files.path)) as process:
            assert process.wait() == 1
            assert process.stderr.splitlines() == expected


def test_options_a_plugin_does_not_have_are_warnings(files: Files) -> None:
    cors = {"allow_origin": "*", "max_age": 3}
    files.write(routes=[{"id": "1", "uri": "/*", "plugins": {"cors": cors}}])
    told = "routes/1: plugin cors: no option allow_origin\n"
    with gateway("check", "-c", str(files.path)) as process:
        assert process.wait() == 0
        assert process.stderr == f"pingsix-asgi: warning: {told}"
    with files.running() as process:
        assert told in process.stderr


def test_every_variable_that_is_not_set_is_named(files: Files) -> None:
    files.path.write_text("routes: [{id: '${{NOT_A}}', uri: '${{NOT_B}}${{NOT_A}}'}]")
    with gateway("check", "-c", str(files.path)) as process:
        assert process.wait() == 1
        assert process.stderr == (
            "pingsix-asgi: configuration: can't find environment variables NOT_A, NOT_B "
            "(nothing else was checked)\n"
        )


def test_check_says_so_when_all_is_well(files: Files) -> None:
    with gateway("check", "-c", str(files.path)) as process:
        assert process.wait() == 0
        assert process.stdout == f"{files.path}: the configuration is valid\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pingsix: {listeners: [{address: localhost:1}]}", "pingsix: listeners.0.address"),
        ("pingsix: {unknown: 1}", "unknown"),
        ("[1, 2]", "expected object"),
        ("a: [", "gateway.yaml"),
    ],
    ids=["listener", "unknown setting", "no object", "no YAML"],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    with gateway("run", "-c", str(path)) as process:
        assert process.wait() == 1
        assert expected in process.stderr
        assert "Traceback" not in process.stderr
        assert process.stderr.count("\n") == 1


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with gateway("run", "-c", str(tmp_path / "none.yaml")) as process:
        assert process.wait() == 1
        assert process.stderr.count("\n") == 1
        assert "none.yaml: No such file or directory" in process.stderr


def test_version_and_usage() -> None:
    with gateway("--version") as process:
        assert process.wait() == 0
        assert process.stdout == f"pingsix-asgi {__version__}\n"
    with gateway() as process:
        assert process.wait() == 2


def test_logs_as_json(files: Files) -> None:
    with files.running("--log-format", "json") as process:
        process.wait_for_text('"message": "ready"')
        lines = [json.loads(line) for line in process.stderr.splitlines()]
    assert {"time", "level", "process", "logger", "message"} <= set(lines[0])


def test_logs_by_level(files: Files) -> None:
    with files.running(env={"RUST_LOG": "warn,pingsix=debug"}) as process:
        assert process.stderr == ""


@pytest.mark.parametrize("server", SERVERS, ids=lambda arguments: arguments[-1])
def test_an_answer_that_breaks_off_is_one_line(files: Files, server: tuple[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as half:
        nodes = {f"127.0.0.1:{half.getsockname()[1]}": 1}
        timeout = {"connect": 5, "send": 5, "read": 0.2}
        files.write(
            routes=[
                {"id": "1", "uri": "/*", "upstream": {"nodes": nodes, "timeout": timeout}},
            ]
        )
        with files.running(*server) as process:
            connection = http.client.HTTPConnection("127.0.0.1", files.port, timeout=20)
            connection.request("GET", "/")
            node, _ = half.accept()
            node.recv(65536)
            node.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + bytes(100_000))
            answer = connection.getresponse()
            with pytest.raises((http.client.IncompleteRead, OSError)):
                answer.read()
            answer.close()
            connection.close()
            node.close()
            wait_until(lambda: "UpstreamTimeout" in process.stderr, "log")
            process.send(signal.SIGTERM)
            assert process.wait() == 0
            warnings = [line for line in process.stderr.splitlines() if " INFO " not in line]
            (line,) = warnings
            assert line.endswith("GET /: UpstreamTimeout: upstream read timeout")


RAW = {
    "bytes outside ASCII": (b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "absolute form": (b"GET http://other/books HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
    "two framings": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n",
        b"400",
    ),
    "chunks in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"400",
    ),
    "the asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "a tunnel": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
}


def test_odd_requests(files: Files, service: Service) -> None:
    for parser in ("zttp", "httptools"):
        with files.running("--http", parser) as process:
            for name, (request, status) in RAW.items():
                with socket.create_connection(("127.0.0.1", files.port), 20) as client:
                    client.sendall(request)
                    answer = client.recv(1000)
                assert answer.startswith(b"HTTP/1.1 " + status), (parser, name, answer)
            assert "Traceback" not in process.output
    assert service.arrived == ["/books"] * 2


def test_a_websocket_that_is_refused_is_no_error_of_the_server(files: Files) -> None:
    files.write(
        routes=[
            {"id": "1", "uri": "/dead", "upstream": {"nodes": {f"127.0.0.1:{free_port()}": 1}}},
            {"id": "2", "uri": "/locked", "plugins": {"key-auth": {}}},
        ]
    )
    with files.running() as process:
        for path, status in (("/dead", 502), ("/locked", 401), ("/none", 404)):
            with pytest.raises(InvalidStatus) as refused:
                connect(f"ws://127.0.0.1:{files.port}{path}")
            assert refused.value.response.status_code == status
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        assert "ERROR" not in process.stderr


def test_without_the_server_packages_check_works_and_run_says_what_is_missing(files: Files) -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from pingsix_asgi.cli import main; "
    command = [sys.executable, "-c", code + "sys.exit(main())"]
    with Process([*command, "check", "-c", str(files.path)]) as process:
        assert process.wait() == 0
    with Process([*command, "run", "-c", str(files.path)]) as process:
        assert process.wait() == 3
        assert process.stderr.endswith(
            "pingsix-asgi: uvicorn is not installed: pip install 'pingsix-asgi[server]'\n"
        )


def test_each_extra_that_is_missing_is_one_line_of_check(files: Files) -> None:
    plugins = {
        "request-validation": {"header_schema": {}},
        "jwt-auth": {},
        "brotli": {},
        "limit-count": {"count": 1, "time_window": 1, "policy": "redis", "redis_host": "127.0.0.1"},
        "prometheus": {},
        "hmac-auth": {},
        "gzip": {},
    }
    routes = [{"id": name, "uri": "/", "plugins": {name: conf}} for name, conf in plugins.items()]
    files.write(routes=routes)
    missing = ("jsonschema", "jwt", "brotli", "redis", "prometheus_client", "websockets")
    code = f"import sys; sys.modules.update(dict.fromkeys({missing!r})); "
    code += "from pingsix_asgi.cli import main; sys.exit(main())"
    with Process([sys.executable, "-c", code, "check", "-c", str(files.path)]) as process:
        assert process.wait() == 1
        lines = process.stderr.splitlines()
    expected = [
        ("request-validation", "validation"),
        ("jwt-auth", "jwt"),
        ("brotli", "brotli"),
        ("limit-count", "redis"),
    ]
    for (plugin, extra), line in zip(expected, lines, strict=True):
        assert line.startswith(f"pingsix-asgi: routes/{plugin}: plugins.{plugin}")
        assert f"pingsix-asgi[{extra}]" in line
