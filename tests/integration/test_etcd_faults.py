"""The source over a real etcd while that is stopped, killed, compacted, cut off or locked."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from pingsix_asgi.config import etcd as etcd_module
from pingsix_asgi.config.etcd import EtcdStore
from pingsix_asgi.config.etcd_client import EtcdClient, EtcdError, EtcdOptions
from pingsix_asgi.config.store import Delete, Put
from pingsix_asgi.config.watch import SourceStatus, StoreSource
from pingsix_asgi.errors import SourceError
from support.etcd_server import EtcdServer, cluster, until

FAST = {"timeout_s": 1.0, "connect_timeout_s": 0.5}


def store_for(*urls: str, **options: Any) -> EtcdStore:
    return EtcdStore(EtcdClient(EtcdOptions(endpoints=urls, **{**FAST, **options})))


class Follower:
    """A source that runs, and what it published last."""

    def __init__(self, store: EtcdStore) -> None:
        self.source = StoreSource(store, delay=lambda attempt: 0.05)
        self.routes: dict[str, Any] = {}
        self.publications = 0

    async def publish(self, resources: Any, revision: int) -> list[Any]:
        self.routes = dict(resources.get("routes", {}))
        self.publications += 1
        return []

    @property
    def status(self) -> SourceStatus:
        return self.source.status

    async def sees(self, **routes: str) -> None:
        """Wait until exactly these routes (id to uri) are published."""
        wanted = {id: {"uri": uri} for id, uri in routes.items()}
        await until(lambda: self.routes == wanted)


@asynccontextmanager
async def following(store: EtcdStore) -> AsyncIterator[Follower]:
    follower = Follower(store)
    task = asyncio.create_task(follower.source.run(follower.publish))
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def put(store: EtcdStore, id: str, uri: str) -> int:
    revision = await store.commit([Put(f"/apisix/routes/{id}", json.dumps({"uri": uri}).encode())])
    assert revision is not None
    return revision


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path).start()
    yield server
    server.stop(kill=True)


@pytest.fixture
async def writer(server: EtcdServer) -> AsyncIterator[EtcdStore]:
    store = store_for(server.url)
    yield store
    await store.aclose()


@pytest.mark.parametrize("kill", [False, True], ids=["restart", "kill-9"])
async def test_the_last_configuration_stays_until_etcd_is_back(
    server: EtcdServer, writer: EtcdStore, kill: bool
) -> None:
    await put(writer, "1", "/a")
    async with following(store_for(server.url)) as follower:
        await follower.sees(**{"1": "/a"})
        server.stop(kill=kill)
        await until(lambda: not follower.status.is_connected)
        assert follower.routes == {"1": {"uri": "/a"}}
        assert follower.status.last_error
        assert follower.status.disconnected_at is not None
        await asyncio.to_thread(server.start)
        await put(writer, "2", "/b")
        await follower.sees(**{"1": "/a", "2": "/b"})
        assert follower.status.is_connected


async def test_etcd_may_start_after_the_gateway(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path)
    async with following(store_for(server.url)) as follower:
        await until(lambda: follower.status.last_error)
        try:
            await asyncio.to_thread(server.start)
            await until(lambda: follower.publications == 1)
        finally:
            server.stop(kill=True)


async def test_changes_missed_through_compaction_are_caught_up(
    server: EtcdServer, writer: EtcdStore
) -> None:
    await put(writer, "1", "/a")
    async with following(store_for(server.url)) as follower:
        await follower.sees(**{"1": "/a"})
        server.stop(kill=True)
        await until(lambda: not follower.status.is_connected)
        other = EtcdServer(server.folder)  # the same data on another port: the source cannot see it
        other.cluster = f"{other.name}={other.peer_url}"
        other.options = ("--force-new-cluster",)
        await asyncio.to_thread(other.start)
        hidden = store_for(other.url)
        last = 0
        for number in range(5):
            last = await put(hidden, str(number), f"/{number}")
        await hidden.client.call("kv/compaction", {"revision": str(last), "physical": True})
        await hidden.aclose()
        other.stop()
        server.options = ("--force-new-cluster",)
        await asyncio.to_thread(server.start)
        await follower.sees(**{str(number): f"/{number}" for number in range(5)})


async def test_an_etcd_that_lost_its_data_is_believed(
    server: EtcdServer, writer: EtcdStore, tmp_path: Path
) -> None:
    for _ in range(5):
        await put(writer, "1", "/old")
    async with following(store_for(server.url)) as follower:
        await follower.sees(**{"1": "/old"})
        server.stop(kill=True)
        server.folder = tmp_path / "empty"
        await asyncio.to_thread(server.start)
        await put(writer, "2", "/new")
        await follower.sees(**{"2": "/new"})


async def test_a_frozen_etcd_is_noticed(
    server: EtcdServer, writer: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_module, "CONTACT_INTERVAL_S", 0.2)
    await put(writer, "1", "/a")
    async with following(store_for(server.url)) as follower:
        await follower.sees(**{"1": "/a"})
        server.pause()
        await until(lambda: not follower.status.is_connected)
        assert follower.routes == {"1": {"uri": "/a"}}
        server.resume()
        await put(writer, "1", "/b")
        await follower.sees(**{"1": "/b"})


async def test_a_silent_watch_is_opened_again(
    server: EtcdServer, writer: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_module, "WATCH_SILENCE_S", 0.2)
    async with following(store_for(server.url)) as follower:
        await until(lambda: follower.publications)
        before = follower.status.last_contact
        await until(lambda: follower.status.last_contact != before)
        await put(writer, "1", "/a")
        await follower.sees(**{"1": "/a"})
        assert follower.status.last_error is None


class Swallowing:
    """Stands before etcd; once ``is_dead``, watches that are open then get nothing any more."""

    def __init__(self, server: EtcdServer) -> None:
        self._port = server.port
        self._dead: list[asyncio.Event] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def swallow(self) -> None:
        for dead in self._dead:
            dead.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_etcd, to_etcd = await asyncio.open_connection("127.0.0.1", self._port)
        dead = asyncio.Event()

        async def copy(
            source: asyncio.StreamReader, sink: asyncio.StreamWriter, is_request: bool
        ) -> None:
            while data := await source.read(65536):
                if is_request and b"/v3/watch" in data:
                    self._dead.append(dead)
                if not dead.is_set():
                    sink.write(data)
            sink.close()

        for work in (copy(reader, to_etcd, True), copy(from_etcd, writer, False)):
            task = asyncio.create_task(work)
            self._tasks.add(task)


@pytest.mark.parametrize("change", ["put", "delete"])
async def test_a_watch_whose_connection_died_is_noticed_by_what_it_lacks(
    server: EtcdServer, writer: EtcdStore, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(etcd_module, "CONTACT_INTERVAL_S", 0.1)
    await put(writer, "1", "/a")
    await put(writer, "2", "/a")
    swallowing = Swallowing(server)
    front = await asyncio.start_server(swallowing, "127.0.0.1", 0)
    port = front.sockets[0].getsockname()[1]
    async with front, following(store_for(f"http://127.0.0.1:{port}")) as follower:
        await follower.sees(**{"1": "/a", "2": "/a"})
        await put(writer, "1", "/b")
        await follower.sees(**{"1": "/b", "2": "/a"})
        contact = follower.status.last_contact
        await until(lambda: follower.status.last_contact != contact)
        swallowing.swallow()
        if change == "put":
            await put(writer, "2", "/b")
            await follower.sees(**{"1": "/b", "2": "/b"})
        else:
            await writer.commit([Delete("/apisix/routes/2")])
            await follower.sees(**{"1": "/b"})
        await until(lambda: follower.status.is_connected)


async def test_another_endpoint_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_module, "CONTACT_INTERVAL_S", 0.2)
    members = await asyncio.to_thread(cluster, tmp_path, 3)
    urls = [member.url for member in members]
    try:
        writer = store_for(*reversed(urls))
        await put(writer, "1", "/a")
        async with following(store_for(*urls)) as follower:
            await follower.sees(**{"1": "/a"})
            for number, fault in enumerate(("stop", "freeze")):
                if fault == "stop":
                    members[0].stop(kill=True)
                else:
                    members[1].pause()

                async def written(uri: str = f"/{number}") -> bool:
                    try:
                        await put(writer, "1", uri)
                    except SourceError:
                        return False
                    return True

                async with asyncio.timeout(20):
                    while not await written():
                        await asyncio.sleep(0.05)
                await follower.sees(**{"1": f"/{number}"})
                if fault == "stop":
                    await asyncio.to_thread(members[0].start)
        await writer.aclose()
    finally:
        for member in members:
            member.stop(kill=True)


async def enable_auth(store: EtcdStore) -> None:
    client = store.client
    for path, body in (
        ("auth/user/add", {"name": "root", "password": "secret"}),
        ("auth/role/add", {"name": "root"}),
        ("auth/user/grant", {"user": "root", "role": "root"}),
        ("auth/enable", {}),
    ):
        await client.call(path, body)


async def test_a_token_that_expired_is_renewed(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path, options=("--auth-token-ttl", "1")).start()
    store = store_for(server.url, user="root", password="secret")
    try:
        anonymous = store_for(server.url)
        await enable_auth(anonymous)
        await anonymous.aclose()
        async with following(store_for(server.url, user="root", password="secret")) as follower:
            await until(lambda: follower.publications)
            await put(store, "1", "/a")
            await follower.sees(**{"1": "/a"})
            # A restarted etcd knows none of the tokens it gave, as if all had expired at once.
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            await until(lambda: follower.status.is_connected)
            await put(store, "1", "/b")
            await follower.sees(**{"1": "/b"})
            await asyncio.sleep(2.5)  # longer than etcd keeps an unused token
            await put(store, "1", "/c")
            await follower.sees(**{"1": "/c"})
    finally:
        await store.aclose()
        server.stop(kill=True)


async def test_wrong_credentials_are_an_error_that_names_no_password(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path).start()
    try:
        admin = store_for(server.url)
        await enable_auth(admin)
        for options in ({}, {"user": "root", "password": "hunter2"}):
            store = store_for(server.url, **options)
            with pytest.raises(EtcdError) as caught:
                await store.list("/apisix/")
            assert "hunter2" not in str(caught.value)
            await store.aclose()
        await admin.aclose()
    finally:
        server.stop(kill=True)


async def test_credentials_do_no_harm_when_authentication_is_off(server: EtcdServer) -> None:
    store = store_for(server.url, user="root", password="secret")
    await put(store, "1", "/a")
    await store.aclose()


async def test_tls_and_client_certificates(tmp_path: Path) -> None:
    authority = trustme.CA()
    files = {}
    for name, blob in (
        ("server.pem", authority.issue_cert("127.0.0.1")),
        ("client.pem", authority.issue_cert("gateway@example.org", common_name="gateway")),
    ):
        files[name] = tmp_path / name
        blob.private_key_and_cert_chain_pem.write_to_path(str(files[name]))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    options = (
        *("--cert-file", str(files["server.pem"]), "--key-file", str(files["server.pem"])),
        *("--client-cert-auth", "--trusted-ca-file", str(tmp_path / "ca.pem")),
    )
    server = EtcdServer(tmp_path / "data", options=options)
    server.scheme = "https"
    await asyncio.to_thread(server.start)
    try:
        trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with_client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with_client.load_cert_chain(files["client.pem"])
        distrusting = ssl.create_default_context()
        good = store_for(f"127.0.0.1:{server.port}", tls=with_client)
        async with asyncio.timeout(20):
            while True:
                try:
                    await put(good, "1", "/a")
                    break
                except SourceError:
                    await asyncio.sleep(0.1)
        async with following(good) as follower:
            await follower.sees(**{"1": "/a"})
        for context in (trusting, distrusting):
            bad = store_for(server.url, tls=context)
            with pytest.raises(SourceError):
                await bad.list("/apisix/")
            await bad.aclose()
        await good.aclose()
    finally:
        server.stop(kill=True)


async def test_a_dead_endpoint_costs_one_try(server: EtcdServer) -> None:
    store = store_for("http://127.0.0.1:1", server.url)
    await put(store, "1", "/a")
    assert store.client.endpoint == server.url
    assert (await store.list("/apisix/")).items
    await store.aclose()


async def test_no_endpoint_left_is_a_source_error() -> None:
    store = store_for("http://127.0.0.1:1", "http://127.0.0.1:2")
    for work in (store.list("/apisix/"), store.get("/apisix/x"), put(store, "1", "/a")):
        with pytest.raises(SourceError):
            await work
    await store.aclose()


@pytest.mark.parametrize("body", [b"<html>502</html>", b"[]", b"", b"\xff"])
async def test_an_endpoint_that_is_no_etcd_is_passed_over(server: EtcdServer, body: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        writer.write(head % len(body) + body)
        await writer.drain()
        writer.close()

    proxy = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    store = store_for(f"http://127.0.0.1:{port}", server.url)
    assert not (await store.list("/apisix/")).items
    assert store.client.endpoint == server.url
    await store.aclose()
    lone = store_for(f"http://127.0.0.1:{port}")
    with pytest.raises(SourceError, match="502 is not"):
        await lone.list("/apisix/")
    await lone.aclose()
    proxy.close()
    await proxy.wait_closed()
