"""file-logger and http-logger: entries, bodies, rotation, batches that arrive and that do not."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi.adapters import LoneHost
from pingsix_asgi.errors import SchemaError
from pingsix_asgi.logs.batch import BatchConf, Batcher, Meter
from pingsix_asgi.middleware.file_logger import FileLogger
from pingsix_asgi.middleware.gzip import Gzip
from pingsix_asgi.middleware.http_logger import HttpLogger
from pingsix_asgi.shared.metrics import gateway_metrics, write_text
from pingsix_asgi.shared.place import DIRECTORY_VARIABLE
from pingsix_asgi.testing import Client, EchoApp, FakeClock, alone, together
from pingsix_asgi.types import Receive, Scope, Send
from support.servers import serving


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def until(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        await asyncio.sleep(0.01)


async def test_the_default_entry_describes_the_request(tmp_path: Path) -> None:
    path = tmp_path / "log"
    client = Client(alone(FileLogger, path=str(path)), host="shop")
    await client.get("/a%20b?x=1&x=2&y", {"x-a": "b"})
    (entry,) = lines(path)
    assert entry["request"]["method"] == "GET"
    assert entry["request"]["uri"] == "/a%20b?x=1&x=2&y"
    assert entry["request"]["url"] == "http://shop:80/a%20b?x=1&x=2&y"
    assert entry["request"]["querystring"]["x"] == ["1", "2"]
    assert entry["request"]["headers"]["x-a"] == "b"
    assert entry["response"]["status"] == 200
    assert entry["response"]["headers"]["content-type"] == "text/plain"
    assert entry["client_ip"] == "127.0.0.1"
    assert {"latency", "start_time", "server", "service_id"} <= entry.keys()
    assert None not in entry.values()
    assert "upstream" not in entry
    assert ", " not in path.read_text()


async def test_formats_literals_nesting_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "log"
    metadata = {"path": str(path), "log_format": {"from": "metadata"}}
    log_format = {"host": "$host", "fixed": 5, "in": {"status": "$status"}, "none": "$no_such"}
    for options in ({}, {"log_format": log_format}):
        app = together({FileLogger: options}, metadata={"file-logger": metadata})
        await Client(app, host="shop").get("/")
    assert lines(path) == [
        {"from": "metadata"},
        {"host": "shop", "fixed": 5, "in": {"status": 200}},
    ]


async def test_bodies_are_collected_up_to_their_limits_and_decoded(tmp_path: Path) -> None:
    path = tmp_path / "log"
    options = {"path": str(path), "include_req_body": True, "include_resp_body": True}
    text = b"a text that is long enough to be worth compressing" * 4
    app = EchoApp(text)
    plugins: Any = {
        FileLogger: {**options, "max_req_body_bytes": 4},
        Gzip: {"types": "*"},
    }
    client = Client(together(plugins, app))
    answer = await client.request(
        "POST", "/", headers={"accept-encoding": "gzip"}, body=[b"abc", b"def"]
    )
    assert answer.header("content-encoding") == "gzip"
    assert app.bodies == [b"abcdef"]
    (entry,) = lines(path)
    assert entry["request"]["body"] == "abcd"
    assert entry["response"]["body"] == text.decode()


async def test_only_what_matches_is_logged(tmp_path: Path) -> None:
    path = tmp_path / "log"
    match = [[["arg_log", "==", "1"]], [["uri", "==", "/b"]]]
    client = Client(alone(FileLogger, path=str(path), match=match, log_format={"u": "$uri"}))
    for target in ("/a", "/a?log=1", "/b"):
        await client.get(target)
    assert lines(path) == [{"u": "/a"}, {"u": "/b"}]
    with pytest.raises(SchemaError, match="match"):
        alone(FileLogger, match=[[["uri", "=~", "x"]]])


async def test_text_lines_escape_what_could_forge_one_and_redact(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = '$remote_addr "$request_method $uri?$query_string" $status'
    client = Client(alone(FileLogger, log_format=line, redact_query_params=["token"]))
    with caplog.at_level(logging.INFO, "pingsix_asgi.access"):
        await client.get("/a%0Ab?x=1&token=secret&y=2")
    assert caplog.messages == [r'127.0.0.1 "GET /a\nb?x=1&token=***&y=2" 200']


SECRET = "/a?x=1&token=s3cret&%74oken=s3cret&api+key=s3cret&Token=shown&token&y=2#"


@pytest.mark.parametrize(
    "log_format",
    [
        None,
        "$request|$request_uri|$real_request_uri|$args|$query_string|$arg_token|${upstream_uri}",
        {"all": ["$args"], "r": "$request", "a": "$arg_token", "u": "$request_uri", "x": "$args"},
    ],
    ids=["default", "text", "object"],
)
async def test_redacted_parameters_show_nowhere(log_format: Any, tmp_path: Path) -> None:
    path, app = tmp_path / "log", EchoApp(headers={"location": "https://a.test/?token=s3cret#top"})
    options = {"path": str(path), "redact_query_params": ["token", "api key"]}
    if log_format is not None:
        options["log_format"] = log_format
    plugins: Any = {FileLogger: {**options, "log_format_extra": {"more": "$request_uri"}}}
    await Client(together(plugins, app)).get(SECRET, {"referer": "https://a.test/?token=s3cret"})
    text = path.read_text()
    assert "s3cret" not in text
    assert "token=***&%74oken=***&api+key=***&Token=shown&token&y=2" in text
    assert app.scopes[0]["query_string"] == SECRET[3:].encode(), "the app gets what was sent"
    if log_format is None:
        entry = json.loads(text)
        assert entry["request"]["querystring"]["token"] == ["***", "***", ""]
        assert entry["request"]["headers"]["referer"] == "https://a.test/?token=***"
        assert entry["response"]["headers"]["location"] == "https://a.test/?token=***#top"
        assert entry["request"]["size"] > len(SECRET)
        assert entry["more"] == entry["request"]["uri"]


async def test_redaction_concerns_this_log_only(tmp_path: Path) -> None:
    """``match`` sees the value, and so do the hooks of others."""
    path, other = tmp_path / "log", tmp_path / "other"
    options = {"path": str(path), "redact_query_params": ["token"], "log_format": "$args"}
    match = [[["arg_token", "==", "s3cret"]]]
    later: Any = type("Later", (FileLogger,), {"name": "later", "priority": 1})
    plugins: Any = {
        FileLogger: {**options, "match": match},
        later: {"path": str(other), "log_format": "$args $query_string"},
    }
    await Client(together(plugins)).get("/?token=s3cret")
    assert (path.read_text(), other.read_text()) == (
        "token=***\n",
        "token=s3cret token=s3cret\n",
    )


async def test_a_rotated_file_is_opened_again_and_a_bad_path_hurts_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "log", FakeClock()
    client = Client(
        together({FileLogger: {"path": str(path), "log_format": {"u": "$uri"}}}, clock=clock)
    )
    await client.get("/1")
    path.rename(tmp_path / "old")
    clock.advance(1.1)
    await client.get("/2")
    assert (lines(tmp_path / "old"), lines(path)) == ([{"u": "/1"}], [{"u": "/2"}])
    bad = Client(alone(FileLogger, path=str(tmp_path / "no" / "such")))
    assert (await bad.get("/")).status == 200
    assert "failed to open file" in caplog.text


class Collector:
    """A log server; refuses the first ``failures`` posts."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.posts: list[tuple[dict[str, str], bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        self.posts.append((headers, body))
        status = 500 if len(self.posts) <= self.failures else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})


async def test_http_logger_posts_batches_and_retries() -> None:
    collector = Collector(failures=1)
    async with serving(collector, lifespan="off") as served:
        app = alone(
            HttpLogger,
            uri=f"{served.url}/logs?k=v",
            auth_header="secret",
            batch_max_size=2,
            max_retry_count=2,
            retry_delay=0,
            log_format={"u": "$uri"},
        )
        client = Client(app)
        for number in range(5):
            await client.get(f"/{number}")
        await until(lambda: len(collector.posts) == 3)
        await client.lifespan()  # what waits is sent when the gateway stops
    bodies = [json.loads(body) for _, body in collector.posts]
    entries = [[entry["u"] for entry in body] for body in bodies]
    assert entries == [["/0", "/1"], ["/0", "/1"], ["/2", "/3"], ["/4"]]
    headers = collector.posts[0][0]
    assert headers["authorization"] == "secret"
    assert headers["content-type"] == "application/json"
    assert bodies[0][0]["route_id"] == "no-matched"


async def test_http_logger_lines_and_single_entries() -> None:
    collector = Collector()
    async with serving(collector, lifespan="off") as served:
        options: dict[str, Any] = {"uri": served.url, "log_format": {"u": "$uri"}}
        single = Client(alone(HttpLogger, **options, batch_max_size=1))
        await single.get("/a")
        await single.lifespan()
        texts = Client(alone(HttpLogger, **options, concat_method="new_line"))
        await texts.get("/b")
        await texts.get("/c")
        await texts.lifespan()
    (_, first), (headers, second) = collector.posts
    assert json.loads(first)["u"] == "/a"
    assert [json.loads(line)["u"] for line in second.splitlines()] == ["/b", "/c"]
    assert headers["content-type"] == "text/plain"


async def test_how_many_entries_wait_is_a_metric() -> None:
    kept: dict[Any, Any] = {}
    host = LoneHost(HttpLogger, FakeClock(), kept)
    go = asyncio.Event()

    async def deliver(batch: list[Any]) -> None:
        await go.wait()

    def waiting() -> str:
        page = write_text(gateway_metrics(host), (), (), "")
        return page.partition("_entries{")[2].partition("} ")[2].partition("\n")[0]

    batcher = Batcher("t", BatchConf(batch_max_size=2, inactive_timeout=60), deliver)
    batcher.meter = Meter(host, ("http logger", "r1", "10.0.0.1"))
    for number in range(5):
        batcher.push(number)
    page = write_text(gateway_metrics(host), (), (), "")
    assert 'entries{name="http logger",route_id="r1",server_addr="10.0.0.1"} 5' in page
    go.set()
    await until(lambda: waiting() == "1")
    await batcher.aclose()
    assert waiting() == "0"


async def test_a_gauge_starts_anew_after_a_crash(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    labels = ("n", "r", "a")
    hosts = [LoneHost(HttpLogger, FakeClock(), {}) for _ in range(2)]
    Meter(hosts[0], labels).add(3)
    await gateway_metrics(hosts[0]).aclose()
    left = Meter(hosts[1], labels)
    left.add(1)
    Meter(hosts[1], labels).add(1)
    totals = gateway_metrics(hosts[1]).totals()
    assert totals["batch_process_entries", *labels] == [2.0]
    await gateway_metrics(hosts[1]).aclose()


async def test_a_dead_collector_costs_bounded_memory(caplog: pytest.LogCaptureFixture) -> None:
    async def deliver(batch: list[Any]) -> None:
        raise ConnectionError

    conf = BatchConf(batch_max_size=2)
    batcher = Batcher("t", conf, deliver, max_pending=5)
    host = LoneHost(HttpLogger, FakeClock(), {})
    batcher.meter = Meter(host, ("n", "r", "a"))
    for number in range(8):
        batcher.push(number)
    assert (batcher.pending, batcher.dropped) == (5, 3)
    await until(lambda: batcher.pending == 1)
    batcher.push(8)
    assert "t: dropped 3 entries, too many waited" in caplog.text
    await batcher.aclose()
    assert (batcher.pending, batcher.dropped) == (0, 9)
    assert "t: dropped 2 entries after the last try" in caplog.text
    page = write_text(gateway_metrics(host), (), (), "apisix_")
    labels = '{name="n",route_id="r",server_addr="a"}'
    assert f"apisix_batch_process_dropped_entries_total{labels} 9" in page
    assert f"apisix_batch_process_entries{labels} 0" in page


async def test_entries_that_a_stopping_gateway_cannot_send_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def deliver(batch: list[Any]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("pingsix_asgi.logs.batch._CLOSE_S", 0.01)
    batcher = Batcher("t", BatchConf(batch_max_size=1), deliver)
    for number in range(3):
        batcher.push(number)
    await batcher.aclose()
    assert batcher.dropped == 3
    assert "t: stopped, 3 entries were not sent in time" in caplog.text
