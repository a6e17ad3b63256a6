"""A gateway whose configuration comes from a store: closed until it is told the rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi import PingSIX
from pingsix_asgi.config.sqlite import SQLiteStore
from pingsix_asgi.config.store import Put
from pingsix_asgi.secrets.keyring import Keyring
from pingsix_asgi.serving import running
from pingsix_asgi.testing import Client
from pingsix_asgi.types import Receive, Scope, Send
from support.processes import free_port


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the app"})


async def put(path: Path, key: str, document: Any) -> None:
    store = SQLiteStore(path)
    await store.commit([Put(f"/apisix/{key}", json.dumps(document).encode())])
    await store.aclose()


@pytest.mark.parametrize(("wrapped", "status"), [(app, 503), (None, 404)])
async def test_a_store_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, wrapped: Any, status: int
) -> None:
    monkeypatch.setattr(running, "FIRST_PUBLICATION_S", 0.05)
    etcd = {"host": [f"127.0.0.1:{free_port()}"]}
    gateway = PingSIX(wrapped, config={"pingsix": {"etcd": etcd}})
    await gateway.startup()
    assert (await Client(gateway).get("/")).status == status
    assert gateway.status.not_ready() == "not_initialized"
    await gateway.shutdown()


async def test_the_app_is_open_once_the_store_has_told(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await put(
        path,
        "routes/1",
        {"uri": "/shut", "plugins": {"ip-restriction": {"whitelist": ["10.0.0.1"]}}},
    )
    gateway = PingSIX(app, config={"pingsix": {"store": f"sqlite:///{path}"}})
    await gateway.startup()
    client = Client(gateway)
    assert (await client.get("/shut")).status == 403
    assert (await client.get("/open")).body == b"the app"
    assert gateway.status.not_ready() is None
    assert gateway.status.report()["config_source"] == "sqlite"
    await gateway.shutdown()


async def test_a_gateway_that_is_started_again_has_its_configuration(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await put(path, "routes/1", {"uri": "/in", "plugins": {"echo": {"body": "in"}}})
    gateway = PingSIX(config={"pingsix": {"store": f"sqlite:///{path}"}})
    for _ in range(2):
        await gateway.startup()
        assert gateway.status.not_ready() is None
        assert (await Client(gateway).get("/in")).body == b"in"
        gateway.drain()
        await gateway.shutdown()


async def test_sealed_secrets_are_opened(tmp_path: Path) -> None:
    path, keyring = tmp_path / "store.db", Keyring(["0123456789abcdef"])
    sealed = {"uri": "/sealed", "plugins": {"basic-auth": {}, "echo": {"body": "in"}}}
    consumer = {
        "username": "jack",
        "plugins": {"basic-auth": {"username": "jack", "password": keyring.encrypt("secret")}},
    }
    await put(path, "routes/1", sealed)
    await put(path, "consumers/jack", consumer)
    settings = {
        "store": f"sqlite:///{path}",
        "data_encryption": {"enable": True, "keyring": ["0123456789abcdef"]},
    }
    gateway = PingSIX(config={"pingsix": settings})
    await gateway.startup()
    basic = {"authorization": "Basic amFjazpzZWNyZXQ="}  # jack:secret
    assert (await Client(gateway).get("/sealed", basic)).status != 401
    assert (await Client(gateway).get("/sealed")).status == 401
    await gateway.shutdown()


async def test_what_no_key_opens_is_left_out(tmp_path: Path) -> None:
    path, other = tmp_path / "store.db", Keyring(["another-key-here"])
    password = other.encrypt("secret")
    consumer = {
        "username": "jack",
        "plugins": {"basic-auth": {"username": "j", "password": password}},
    }
    await put(path, "consumers/jack", consumer)
    await put(path, "routes/1", {"uri": "/a", "plugins": {"echo": {"body": "in"}}})
    settings = {
        "store": f"sqlite:///{path}",
        "data_encryption": {"enable": True, "keyring": ["0123456789abcdef"]},
    }
    gateway = PingSIX(config={"pingsix": settings})
    await gateway.startup()
    assert gateway.status.counts == {"routes": 1}
    assert [(error.kind, error.id) for error in gateway.status.errors] == [("consumers", "jack")]
    await gateway.shutdown()
