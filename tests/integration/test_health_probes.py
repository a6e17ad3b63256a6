"""Probes and their tasks against real servers that answer, refuse, stall and come back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import trustme

from pingsix_asgi.model.upstream import Upstream as UpstreamModel
from pingsix_asgi.upstream.health.check import Check, compile_check
from pingsix_asgi.upstream.health.probe import Prober
from pingsix_asgi.upstream.node import Node, TLSOptions
from pingsix_asgi.upstream.upstream import Upstream
from support.processes import free_port
from support.upstreams import FakeServices, make_ctx, until

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Server:
    """Sends ``answer`` to every request, records them, and can be taken down and up again."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answer: bytes | None = OK
        self.requests: list[bytes] = []
        self.connections = 0
        self.busy = self.most_busy = 0
        self.wait_s = 0.0
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._release = asyncio.Event()

    async def up(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        assert self._server is not None
        self._server.close()
        self._release.set()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await self._reply(writer)
        finally:
            self.busy -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _reply(self, writer: asyncio.StreamWriter) -> None:
        if self.answer is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._release.wait(), 5)
        else:
            await asyncio.sleep(self.wait_s)
            writer.write(self.answer)
            await writer.drain()

    @property
    def node(self) -> Node:
        return Node("127.0.0.1", self.port)


@contextlib.asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(tls)
    await server.up()
    try:
        yield server
    finally:
        await server.down()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


def check_of(active: dict[str, Any], **fields: Any) -> Check:
    model = UpstreamModel.model_validate(
        {"nodes": {"127.0.0.1:1": 1}, "checks": {"active": {"timeout": 10, **active}}, **fields}
    )
    check = compile_check(model, None)
    assert check is not None
    return check


# -- one probe


async def test_a_probe_asks_as_apisix_does(server: Server) -> None:
    check = check_of({"http_path": "/healthy?deep=1", "host": "api.test"})
    prober = Prober(check)
    assert await prober.probe(server.node) == "success"
    assert await prober.probe(server.node) == "success"
    head, *lines = server.requests[0].decode().split("\r\n")
    assert head == "GET /healthy?deep=1 HTTP/1.1"
    assert "host: api.test" in lines
    assert "connection: close" in lines
    assert server.connections == 2


async def test_method_body_and_headers_are_sent(server: Server) -> None:
    check = check_of(
        {
            "http_method": "POST",
            "http_req_body": "ping",
            "req_headers": ["X-Probe: 1", "Host: other.test", "user-agent:probe/2"],
        }
    )
    assert await Prober(check).probe(server.node) == "success"
    head, *lines = server.requests[0].decode().split("\r\n")
    assert head == "POST / HTTP/1.1"
    assert {"x-probe: 1", "host: other.test", "user-agent: probe/2", "content-length: 4"} <= {
        line.lower() for line in lines
    }


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "success"),
        (302, "success"),
        (404, "http_failure"),
        (429, "http_failure"),
        (505, "http_failure"),
        (204, None),
        (301, None),
        (403, None),
    ],
)
async def test_the_default_lists_judge_the_status(
    server: Server, status: int, outcome: str | None
) -> None:
    server.answer = b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status
    assert await Prober(check_of({})).probe(server.node) == outcome


async def test_given_lists_replace_the_default_ones(server: Server) -> None:
    check = check_of({"healthy": {"http_statuses": [404]}, "unhealthy": {"http_statuses": [200]}})
    assert await Prober(check).probe(server.node) == "http_failure"
    server.answer = b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n"
    assert await Prober(check).probe(server.node) == "success"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"", "tcp_failure"),
        (b"nonsense\r\n\r\n", "http_failure"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nsome", "success"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "tcp_failure"),
        (None, "timeout_failure"),
    ],
)
async def test_what_is_no_answer_is_a_failure_of_its_sort(
    server: Server, answer: bytes | None, outcome: str
) -> None:
    server.answer = answer
    check = check_of({"timeout": 0.3 if answer is None else 10})
    assert await Prober(check).probe(server.node) == outcome


@pytest.mark.parametrize("type", ["http", "https", "tcp"])
async def test_a_refused_connection_is_a_tcp_failure(type: str) -> None:
    assert await Prober(check_of({"type": type})).probe(Node("127.0.0.1", free_port())) == (
        "tcp_failure"
    )


async def test_tcp_only_connects(server: Server) -> None:
    assert await Prober(check_of({"type": "tcp"})).probe(server.node) == "success"
    await until(lambda: server.connections == 1)
    assert server.requests == []


@pytest.mark.parametrize("type", ["http", "tcp"])
async def test_the_port_can_be_another_than_the_node_s(server: Server, type: str) -> None:
    check = check_of({"type": type, "port": server.port})
    assert await Prober(check).probe(Node("127.0.0.1", 1)) == "success"


@pytest.mark.parametrize(
    ("fields", "active", "expected"),
    [
        ({}, {}, "node.test"),
        ({}, {"host": "check.test"}, "check.test"),
        ({"pass_host": "node"}, {"host": "check.test"}, "node.test"),
        ({"pass_host": "rewrite", "upstream_host": "up.test"}, {"host": "check.test"}, "up.test"),
    ],
)
def test_the_host_that_is_asked_for(
    fields: dict[str, Any], active: dict[str, Any], expected: str
) -> None:
    node = Node("node.test", 80, address="127.0.0.1")
    assert check_of(active, **fields).host_of(node) == expected


def test_a_node_without_a_name_takes_the_host_of_the_check() -> None:
    check = check_of({"host": "check.test"}, pass_host="node")
    assert check.host_of(Node("127.0.0.1", 80)) == "check.test"


# -- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def secure(authority: trustme.CA) -> AsyncIterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.test").configure_cert(context)
    async with serving(context) as running:
        yield running


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Any) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


async def test_certificates_are_verified_by_default_for_the_host_of_the_check(
    secure: Server, ca_file: str
) -> None:
    check = check_of({"type": "https", "host": "api.test"})
    assert check.tls == TLSOptions(verify=True)
    trusting = TLSOptions(verify=True, ca_file=ca_file)
    assert await Prober(check).probe(secure.node) == "tcp_failure"
    assert await Prober(replace(check, tls=trusting)).probe(secure.node) == "success"
    other = replace(check, tls=trusting, host="other.test")
    assert await Prober(other).probe(secure.node) == "tcp_failure"


async def test_verification_can_be_switched_off(secure: Server) -> None:
    check = check_of({"type": "https", "https_verify_certificate": False})
    assert await Prober(check).probe(secure.node) == "success"
    assert b"host: 127.0.0.1\r\n" in secure.requests[0].lower()


async def test_the_client_certificate_of_the_upstream_is_presented(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.issue_cert("api.test").configure_cert(context)
    own = authority.issue_cert("gateway.test")
    tls = {
        "client_cert": own.cert_chain_pems[0].bytes().decode(),
        "client_key": own.private_key_pem.bytes().decode(),
    }
    active = {"type": "https", "https_verify_certificate": False}
    model = UpstreamModel.model_validate(
        {"nodes": {"a:1": 1}, "scheme": "https", "tls": tls, "checks": {"active": active}}
    )
    async with serving(context) as running:
        upstream = Upstream.compile(model, key="u", services=FakeServices())
        assert upstream.check is not None
        assert await Prober(upstream.check).probe(running.node) == "success"
        bare = replace(upstream.check, tls=TLSOptions())
        assert await Prober(bare).probe(running.node) == "tcp_failure"


# -- the tasks


Start = Callable[..., Awaitable[Upstream]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start an upstream over servers, with checks that are faster than the model allows."""
    services = FakeServices()
    upstreams: list[Upstream] = []

    async def start(servers: list[Server], active: dict[str, Any], **faster: Any) -> Upstream:
        model = UpstreamModel.model_validate(
            {
                "name": "api",
                "nodes": {f"127.0.0.1:{server.port}": 1 for server in servers},
                "checks": {"active": {"timeout": 10, **active}},
            }
        )
        upstream = Upstream.compile(model, key="upstreams/1", services=services)
        assert upstream.check is not None
        intervals = {"healthy_interval_s": 0.02, "unhealthy_interval_s": 0.02}
        upstream.check = replace(upstream.check, **{**intervals, **faster})
        upstreams.append(upstream)
        await upstream.start()
        return upstream

    yield start
    for upstream in upstreams:
        upstream.stop()
    assert services.running == []
    await services.aclose()


def statuses(upstream: Upstream) -> list[str]:
    return [node["status"] for node in upstream.health()]


@pytest.mark.parametrize("type", ["http", "tcp"])
async def test_a_node_goes_down_and_comes_back(
    start: Start, server: Server, type: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as other:
        with caplog.at_level(logging.INFO, "pingsix_asgi.health"):
            upstream = await start([server, other], {"type": type})
            assert statuses(upstream) == ["healthy", "healthy"]
            await server.down()
            await until(lambda: statuses(upstream) == ["unhealthy", "healthy"])
            assert {upstream.pick(make_ctx()).port for _ in range(6)} == {other.port}
            await server.up()
            await until(lambda: statuses(upstream) == ["healthy", "healthy"])
            assert {upstream.pick(make_ctx()).port for _ in range(6)} == {server.port, other.port}
        label = f"upstream api: node 127.0.0.1:{server.port}"
        assert [record.getMessage() for record in caplog.records] == [
            f"{label} is unhealthy: tcp_failure 2 times in a row",
            f"{label} is healthy: success 2 times in a row",
        ]


async def test_a_slow_node_goes_down_by_timeouts(start: Start, server: Server) -> None:
    async with serving() as other:
        server.answer = None
        upstream = await start([server, other], {}, timeout_s=0.2)
        await until(lambda: statuses(upstream) == ["unhealthy", "healthy"])
        assert upstream.health()[0]["counter"]["timeout_failure"] == 3
        server.answer = OK
        await until(lambda: statuses(upstream) == ["healthy", "healthy"])


async def test_bad_statuses_take_a_node_down(start: Start, server: Server) -> None:
    server.answer = b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"
    upstream = await start([server], {"unhealthy": {"http_failures": 3}})
    await until(lambda: statuses(upstream) == ["unhealthy"])
    assert upstream.health()[0]["counter"]["http_failure"] == 3
    assert upstream.pick(make_ctx()).port == server.port


async def test_the_two_intervals_are_separate(start: Start, server: Server) -> None:
    server.answer = b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"
    upstream = await start(
        [server], {"unhealthy": {"http_failures": 2}}, unhealthy_interval_s=1000.0
    )
    await until(lambda: statuses(upstream) == ["unhealthy"])
    await asyncio.sleep(0.1)
    assert server.connections == 2


async def test_probes_of_a_check_are_bounded_in_number(start: Start) -> None:
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving()) for _ in range(6)]
        busy = 0
        most = 0

        def watch_busy() -> None:
            nonlocal busy, most
            busy = sum(server.busy for server in servers)
            most = max(most, busy)

        for server in servers:
            server.wait_s = 0.03
        await start(servers, {"concurrency": 2})

        def everyone_was_asked_twice() -> bool:
            watch_busy()
            return all(server.connections >= 2 for server in servers)

        await until(everyone_was_asked_twice)
        assert 1 <= most <= 3  # a server may still be closing what its probe has finished


async def test_a_probe_that_breaks_does_not_end_its_task(
    start: Start, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = Prober.probe
    broken = [True]

    async def probe(self: Prober, node: Node) -> Any:
        if broken.pop():
            broken.append(False)
            raise RuntimeError("a bug")
        broken.append(False)
        return await real(self, node)

    monkeypatch.setattr(Prober, "probe", probe)
    await start([server], {})
    await until(lambda: server.connections > 1)
    assert "probe of 127.0.0.1" in caplog.text
