"""TLS listeners of a running gateway: certificates by name, changed while it runs."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from support.pki import PKI, Connection, names_shown
from support.processes import Process, accepts, free_port, gateway, get, wait_until

KEY = "an-admin-key"
BODY = "$ssl_server_name|$ssl_client_verify|$ssl_client_s_dn|$ssl_protocol"
TELL = {"fault-injection": {"abort": {"http_status": 200, "body": BODY}}}
ROUTE = {"id": "1", "uri": "/*", "plugins": TELL}


@dataclass
class Running:
    process: Process
    pki: PKI
    port: int
    admin: int

    def send(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=20)
        with contextlib.closing(connection):
            body = None if document is None else json.dumps(document)
            connection.request(method, f"/apisix/admin/{path}", body, {"x-api-key": KEY})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None

    def put(self, path: str, document: Any) -> None:
        status, found = self.send("PUT", path, document)
        assert status in (200, 201), found

    def show(self, id: str, *names: str, **more: Any) -> None:
        """Put a certificate in force, and wait until it is shown."""
        self.put(f"ssls/{id}", self.pki.ssl(*names, **more))
        self.wait_for(names[0], set(names))

    def wait_for(self, name: str, names: set[str]) -> None:
        context = self.pki.client()
        wait_until(lambda: names_shown(context, self.port, name) == names, f"{names} is shown")

    def connect(self, name: str | None, identity: Any = None, **options: Any) -> Connection:
        return Connection(self.pki.client(identity, **options), self.port, name)


def start(folder: Path, pki: PKI, *arguments: str, **listener: Any) -> Iterator[Running]:
    port, status, admin = free_port(), free_port(), free_port()
    tls = pki.write(folder, "own.example.com")
    settings = {
        "listeners": [{"address": f"127.0.0.1:{port}", "tls": tls, **listener}],
        "status": {"address": f"127.0.0.1:{status}"},
        "admin": {"address": f"127.0.0.1:{admin}", "api_key": KEY},
        "store": f"sqlite:///{folder}/store.db",
    }
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump({"pingsix": settings}))
    with gateway("run", "-c", str(path), *arguments) as process:
        process.wait_for(
            lambda: accepts(status) and get(status, "/status/ready")[0] == 200, "ready"
        )
        running = Running(process, pki, port, admin)
        running.put("routes/1", ROUTE)
        with running.connect(None) as connection:
            wait_until(lambda: connection.get().status == 200, "the route")
        yield running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from start(tmp_path_factory.mktemp("tls"), PKI())


def test_each_name_is_shown_its_certificate_and_others_the_listeners(running: Running) -> None:
    running.show("exact", "a.one.test")
    running.show("wild", "*.one.test")
    context = running.pki.client()
    assert names_shown(context, running.port, "A.ONE.test") == {"a.one.test"}
    assert names_shown(context, running.port, "b.one.test") == {"*.one.test"}
    assert names_shown(context, running.port, "x.b.one.test") == {"own.example.com"}
    assert names_shown(context, running.port, None) == {"own.example.com"}


def test_a_changed_certificate_is_shown_to_the_next_handshake(running: Running) -> None:
    running.show("change", "a.two.test")
    with running.connect("a.two.test") as before:
        assert before.get().body == "a.two.test|NONE||TLSv1.3"
        running.show("change", "a.two.test", "b.two.test")
        assert before.get().status == 200, "connections that are open go on"
        assert before.names == {"a.two.test"}
    assert running.send("DELETE", "ssls/change")[0] == 200
    running.wait_for("a.two.test", {"own.example.com"})


def test_a_pair_that_does_not_fit_is_refused(running: Running) -> None:
    running.show("fit", "a.three.test")
    good, other = running.pki.ssl("a.three.test"), running.pki.ssl("a.three.test")
    status, found = running.send("PUT", "ssls/fit", {**good, "key": other["key"]})
    assert status == 400
    assert "failed to parse key: it does not belong" in found["error_msg"]
    assert KEY not in found["error_msg"]
    assert "PRIVATE" not in json.dumps(found)


def test_versions_are_limited_by_name(running: Running) -> None:
    running.show("v13", "new.four.test", ssl_protocols=["TLSv1.3"])
    running.show("v12", "old.four.test", ssl_protocols=["TLSv1.2"])
    with running.connect("old.four.test") as connection:
        assert connection.get().body.endswith("|TLSv1.2")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        running.connect("new.four.test", version=ssl.TLSVersion.TLSv1_2)


def test_clients_are_asked_only_where_a_resource_says_so(running: Running) -> None:
    client = {"ca": running.pki.ca_pem, "skip_mtls_uri_regex": ["^/free/"]}
    running.show("guarded", "a.five.test", client=client)
    running.show("open", "b.five.test")
    stranger = trustme.CA().issue_cert("stranger@example.com")
    identity = running.pki.ca.issue_cert("me@example.com", common_name="me, myself")
    with running.connect("a.five.test") as connection:
        assert connection.get("/free/x").status == 200
        refused = connection.get("/free/../paid")
        assert (refused.status, refused.headers["connection"]) == (400, "close")
        assert refused.headers["server"].startswith("PingSIX/")
    with running.connect("a.five.test", identity) as connection:
        name, verify, subject, _ = connection.get("/paid").body.split("|")
        assert (name, verify) == ("a.five.test", "SUCCESS")
        assert subject.startswith(r"CN=me\, myself")
        assert connection.get("/paid", host="b.five.test").status == 200
    with running.connect("b.five.test", stranger) as connection:
        assert connection.get("/paid").body.startswith("b.five.test|NONE|"), "nobody asked"
        assert connection.get("/paid", host="a.five.test:443").status == 400
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        running.connect("a.five.test", stranger) as connection,
    ):
        connection.get("/paid")


def test_a_guard_that_comes_later_holds_for_connections_that_are_open(running: Running) -> None:
    document = running.pki.ssl("a.six.test")
    running.put("ssls/later", document)
    running.wait_for("a.six.test", {"a.six.test"})
    with running.connect("a.six.test") as connection:
        assert connection.get().status == 200
        running.put("ssls/later", {**document, "client": {"ca": running.pki.ca_pem}})
        answers = []
        wait_until(lambda: answers.append(connection.get().status) or 400 in answers, "the guard")
        assert set(answers) <= {200, 400}
    identity = running.pki.ca.issue_cert("me@example.com")
    with running.connect("a.six.test", identity) as connection:
        assert connection.get().status == 200
        other = PKI()
        running.put("ssls/later", {**document, "client": {"ca": other.ca_pem}})
        answers = []
        wait_until(lambda: answers.append(connection.get().status) or 400 in answers, "the new CA")


def test_the_length_of_a_clients_chain_is_limited(running: Running) -> None:
    running.show("short", "a.seven.test", client={"ca": running.pki.ca_pem, "depth": 0})
    running.show("long", "b.seven.test", client={"ca": running.pki.ca_pem, "depth": 1})
    direct = running.pki.ca.issue_cert("me@example.com")
    below = running.pki.ca.create_child_ca().issue_cert("me@example.com")
    for name, identity, status in (
        ("a.seven.test", direct, 200),
        ("a.seven.test", below, 400),
        ("b.seven.test", below, 200),
    ):
        with running.connect(name, identity) as connection:
            assert connection.get().status == status, (name, status)


def test_a_resumed_session_is_good_for_its_own_name_only(running: Running) -> None:
    client = {"ca": running.pki.ca_pem}
    running.show("r1", "a.eight.test", client=client)
    running.show("r2", "b.eight.test", client={"ca": PKI().ca_pem})
    identity = running.pki.ca.issue_cert("me@example.com")
    context = running.pki.client(identity, ssl.TLSVersion.TLSv1_2)
    with Connection(context, running.port, "a.eight.test") as first:
        assert first.get().status == 200
        session = first.socket.session
        with Connection(context, running.port, "a.eight.test", session) as second:
            assert second.socket.session_reused
            assert second.get().status == 200, "verified when the session began"
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            Connection(context, running.port, "b.eight.test", session) as third,
        ):
            third.get()


def test_a_websocket_handshake_needs_the_certificate_too(running: Running) -> None:
    running.show("ws", "a.nine.test", client={"ca": running.pki.ca_pem})
    with running.connect("a.nine.test") as connection:
        upgrade = {
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        assert connection.get("/", **upgrade).status == 400


def test_a_hello_in_pieces_and_one_that_is_none(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), 20) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"HTTP/1" not in raw.recv(100)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    shaking = running.pki.client().wrap_bio(incoming, outgoing, server_hostname="a.ten.test")
    with socket.create_connection(("127.0.0.1", running.port), 20) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while shaking.version() is None:
            with contextlib.suppress(ssl.SSLWantReadError):
                shaking.do_handshake()
                break
            data = outgoing.read()
            for at in range(0, len(data), 100):
                raw.sendall(data[at : at + 100])
            incoming.write(raw.recv(65536))
    assert shaking.version() == "TLSv1.3"


@pytest.fixture(scope="module", params=["zttp with HTTP/2", "httptools"])
def other(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Running]:
    arguments = ("--http", "httptools") if request.param == "httptools" else ()
    listener = {} if arguments else {"offer_h2": True}
    yield from start(tmp_path_factory.mktemp("tls"), PKI(), *arguments, **listener)


def test_curl_speaks_the_best_version_and_is_asked_for_its_certificate(
    other: Running, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    is_h2 = "HTTP/2" in request.node.name
    other.show("one", "a.one.test", client={"ca": other.pki.ca_pem})
    identity = other.pki.ca.issue_cert("me@example.com", common_name="curl")
    other.pki.ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    identity.private_key_and_cert_chain_pem.write_to_path(tmp_path / "me.pem")
    command = ["curl", "-sS", "--cacert", str(tmp_path / "ca.pem"), "--max-time", "20"]
    command += ["--resolve", f"a.one.test:{other.port}:127.0.0.1", "-w", "|%{http_version}"]
    command += [f"https://a.one.test:{other.port}/"]

    def curl(*more: str) -> str:
        return subprocess.run([*command, *more], capture_output=True, check=True, text=True).stdout

    version = "2" if is_h2 else "1.1"
    with_certificate = curl("--cert", str(tmp_path / "me.pem"))
    assert with_certificate.startswith("a.one.test|SUCCESS|CN=curl")
    assert with_certificate.endswith(f"|TLSv1.3|{version}")
    assert "400 Bad Request" in curl()
    assert curl("--http1.1", "--cert", str(tmp_path / "me.pem")).endswith("|TLSv1.3|1.1")


def test_without_a_name_the_fallback_is_shown_and_without_a_pair_strangers_fail(
    tmp_path: Path,
) -> None:
    pki, port, status = PKI(), free_port(), free_port()
    listener = {"address": f"127.0.0.1:{port}", "tls": {"fallback_sni": "a.one.test"}}
    document = {
        "pingsix": {
            "listeners": [listener],
            "status": {"address": f"127.0.0.1:{status}"},
        },
        "routes": [ROUTE],
        "ssls": [{"id": "1", **pki.ssl("a.one.test")}],
    }
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(document))
    with gateway("run", "-c", str(path)) as process:
        process.wait_for_port(port)
        assert names_shown(pki.client(), port, None) == {"a.one.test"}
        with pytest.raises((ssl.SSLError, ConnectionError)):
            names_shown(pki.client(), port, "b.one.test")
        document["ssls"] = [{"id": "1", **pki.ssl("a.one.test"), "key": pki.issue("x")[1]}]
        path.write_text(yaml.safe_dump(document))
        process.wait_for_text("ssls/1: cert")
        assert names_shown(pki.client(), port, "a.one.test") == {"a.one.test"}
        document["ssls"] = [{"id": "1", **pki.ssl("b.one.test")}]
        path.write_text(yaml.safe_dump(document))
        wait_until(lambda: _shows(pki, port, "b.one.test"), "the certificate of the file")


def test_a_name_whose_guard_does_not_compile_is_refused(tmp_path: Path) -> None:
    pki, port = PKI(), free_port()
    tls = pki.write(tmp_path, "own.example.com")
    guarded = {"id": "1", **pki.ssl("a.one.test"), "client": {"ca": "$env://NOT_SET_ANYWHERE"}}
    document = {
        "pingsix": {"listeners": [{"address": f"127.0.0.1:{port}", "tls": tls}]},
        "routes": [ROUTE],
        "ssls": [guarded],
    }
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(document))
    with gateway("run", "-c", str(path)) as process:
        process.wait_for_port(port)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            names_shown(pki.client(), port, "a.one.test")
        with Connection(pki.client(), port, "b.one.test") as connection:
            assert connection.get().status == 200
            assert connection.get(host="a.one.test").status == 400
        guarded["client"] = {"ca": pki.ca_pem}
        path.write_text(yaml.safe_dump(document))
        wait_until(lambda: _shows(pki, port, "a.one.test"), "the guard compiles")


def _shows(pki: PKI, port: int, name: str) -> bool:
    try:
        return names_shown(pki.client(), port, name) == {name}
    except (ssl.SSLError, ConnectionError):
        return False


def test_uvicorn_on_its_own_shows_live_certificates(tmp_path: Path) -> None:
    """The example of docs/tls.md, with another port."""
    page = (Path(__file__).parents[2] / "docs/tls.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    pki, port = PKI(), free_port()
    (tmp_path / "main.py").write_text(code.replace("port=9443", f"port={port}"))
    path = tmp_path / "gateway.yaml"

    def show(name: str) -> None:
        document = {"routes": [ROUTE], "ssls": [{"id": "1", **pki.ssl(name)}]}
        path.write_text(yaml.safe_dump(document))
        wait_until(lambda: accepts(port) and _shows(pki, port, name), f"{name} is shown")

    path.write_text("")
    with Process([sys.executable, "main.py"], cwd=tmp_path) as process:
        process.wait_for_port(port)
        show("a.one.test")
        show("b.one.test")
        with Connection(pki.client(), port, "b.one.test") as connection:
            assert connection.get().status == 200
