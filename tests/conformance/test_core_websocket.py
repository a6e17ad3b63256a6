"""WebSocket through a running gateway."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from support.conformance import Bench
from support.processes import DEADLINE_S


def _echo(connection: ServerConnection) -> None:
    request = connection.request
    assert request is not None
    connection.send(f"{request.path} {request.headers['Host']} {connection.subprotocol}")
    for message in connection:
        connection.send(message)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve(_echo, "127.0.0.1", 0, subprotocols=["chat"]) as server:  # type: ignore[list-item]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "fields", "service"),
    [
        ("/on", {"enable_websocket": True}, {}),
        ("/unset", {}, {}),
        ("/by-service", {}, {"enable_websocket": True}),
        ("/over-service", {"enable_websocket": True}, {"enable_websocket": False}),
    ],
)
def test_it_is_passed_on(bench: Bench, address: str, path: str, fields: Any, service: Any) -> None:
    _configure(bench, address, path, fields, service)
    try:
        with connect(
            f"ws://127.0.0.1:{bench.port}{path}",
            subprotocols=["chat"],  # type: ignore[list-item]
            open_timeout=DEADLINE_S,
            proxy=None,
        ) as client:
            assert client.subprotocol == "chat"
            assert client.recv() == f"{path} 127.0.0.1:{bench.port} chat"
            for message in ("text", b"\x00bytes", "x" * 100_000):
                client.send(message)
                assert client.recv() == message
    finally:
        bench.clear()


@pytest.mark.parametrize(
    ("path", "fields", "service"),
    [
        ("/off", {"enable_websocket": False}, {}),
        ("/off-by-service", {}, {"enable_websocket": False}),
        ("/off-over-service", {"enable_websocket": False}, {"enable_websocket": True}),
    ],
)
def test_it_is_refused(bench: Bench, address: str, path: str, fields: Any, service: Any) -> None:
    _configure(bench, address, path, fields, service)
    try:
        with pytest.raises(InvalidStatus) as raised:
            connect(f"ws://127.0.0.1:{bench.port}{path}", open_timeout=DEADLINE_S, proxy=None)
        assert raised.value.response.status_code == 403
    finally:
        bench.clear()


def _configure(bench: Bench, address: str, path: str, fields: Any, service: Any) -> None:
    upstream = {"type": "roundrobin", "nodes": {address: 1}}
    bench.put("services/1", {"upstream": upstream, **service})
    assert bench.put("routes/1", {"uri": path, "service_id": "1", **fields}).is_success
    bench.settle()
