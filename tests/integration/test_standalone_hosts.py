"""``sidecar/app.py`` under every server, as its README says, in front of a real service."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import get, wait_until
from support.servers import HOSTS, HostName, hosted
from support.sidecar import Service

SIDECAR = Path(__file__).parents[2] / "sidecar"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service.running() as service:
        yield service


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> HostName:
    name: HostName = request.param
    return name


def one_line(service: Service) -> dict[str, str]:
    return {"PINGSIX_UPSTREAM": f"http://127.0.0.1:{service.server_port}"}


def test_the_one_line_sidecar(host: HostName, service: Service) -> None:
    with hosted(host, "app:app", SIDECAR, one_line(service)) as (process, served):
        status, _, body = get(served.port, "/a%20b?c=d")
        assert (status, json.loads(body)["path"]) == (200, "/a%20b?c=d")
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.request("GET", "/")
        names = [name.lower() for name, _ in connection.getresponse().getheaders()]
        assert names.count("date") == 1
        connection.close()
        process.send(signal.SIGTERM)
        # granian and uvicorn die of the signal they were sent, hypercorn exits
        assert process.wait() in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def test_a_file_is_followed(host: HostName, service: Service, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("routes: [{id: 1, uri: /a, plugins: {echo: {body: one}}}]")
    with hosted(host, "app:app", SIDECAR, {"PINGSIX_CONFIG_FILE": str(path)}) as (_, served):
        assert get(served.port, "/a")[2] == "one"
        status, _, body = get(served.port, "/b")
        assert (status, json.loads(body)) == (404, {"error_msg": "404 Route Not Found"})
        path.write_text("routes: [{id: 1, uri: /a, plugins: {echo: {body: two}}}]")
        wait_until(lambda: get(served.port, "/a")[2] == "two", "the change is live")


@pytest.mark.parametrize("target", [b"/%zz", b"/a/%00", b"/../x"])
def test_bad_paths_are_refused(host: HostName, service: Service, target: bytes) -> None:
    seen = len(service.arrived)
    with (
        hosted(host, "app:app", SIDECAR, one_line(service)) as (_, served),
        socket.create_connection(("127.0.0.1", served.port), 20) as client,
    ):
        client.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 400"
    assert len(service.arrived) == seen


def test_two_hosts_are_refused(host: HostName, service: Service) -> None:
    with (
        hosted(host, "app:app", SIDECAR, one_line(service)) as (_, served),
        socket.create_connection(("127.0.0.1", served.port), 20) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 400"


def test_a_bad_configuration_stops_the_server(host: HostName, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("routes: [{id: bad, uri: 5}]")
    with pytest.raises(AssertionError, match="ended with"):  # noqa: SIM117 - the start fails
        with hosted(host, "app:app", SIDECAR, {"PINGSIX_CONFIG_FILE": str(path)}):
            pass
