"""The client that a believed peer names is the client from the first decision on."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from pingsix_asgi import PingSIX
from pingsix_asgi.testing import Client, EchoApp
from support.raw_upstream import OK, answering, raw_upstream
from support.servers import serving

NAMED = {"X-Real-IP": "10.1.2.3", "X-Forwarded-For": "10.9.9.9"}


def routes(port: int) -> list[dict[str, Any]]:
    upstream = {"nodes": {f"127.0.0.1:{port}": 1}}
    shown = {"set": {"x-seen": "$remote_addr:$remote_port:$realip_remote_addr"}}
    plugins = {"response-rewrite": {"headers": shown}}
    near = {"id": "near", "uri": "/*", "remote_addr": "10.1.2.0/24", "plugins": plugins}
    return [{**near, "upstream": upstream}]


async def test_a_gateway_alone_believes_its_own_machine() -> None:
    async with raw_upstream(answering(OK)) as node:
        app = PingSIX(config={"routes": routes(node.port)})
        async with (
            serving(app, proxy_headers=False) as served,
            httpx2.AsyncClient(base_url=served.url) as client,
        ):
            answer = await client.get("/", headers=NAMED)
            assert answer.status_code == 200
            assert answer.headers["x-seen"] == "10.1.2.3::127.0.0.1"
            assert (await client.get("/")).status_code == 404, "a peer that names nobody"
            bad = {**NAMED, "X-Real-IP": "nobody"}
            assert (await client.get("/", headers=bad)).status_code == 404
    (head,) = node.heads
    assert b"x-real-ip: 10.1.2.3\r\n" in head
    assert b"x-forwarded-for: 10.9.9.9, 10.1.2.3\r\n" in head


@pytest.mark.parametrize(
    ("settings", "address", "headers", "status"),
    [
        ({}, "127.0.0.1", {"x-real-ip": "10.1.2.3"}, 200),
        ({}, "127.0.0.2", {"x-real-ip": "10.1.2.3"}, 404),
        ({"real_ip_from": []}, "127.0.0.1", {"x-real-ip": "10.1.2.3"}, 404),
        ({"real_ip_from": ["127.0.0.0/8"]}, "127.0.0.2", {"x-real-ip": "10.1.2.3"}, 200),
        ({"real_ip_header": "CF-IP"}, "127.0.0.1", {"cf-ip": "10.1.2.3"}, 200),
        ({"real_ip_header": "CF-IP"}, "127.0.0.1", {"x-real-ip": "10.1.2.3"}, 404),
        (
            {"real_ip_header": "X-Forwarded-For"},
            "127.0.0.1",
            {"x-forwarded-for": "1.1.1.1, 10.1.2.3"},
            200,
        ),
    ],
)
async def test_who_is_believed_about_what(
    settings: dict[str, Any], address: str, headers: dict[str, str], status: int
) -> None:
    near = {"id": "near", "uri": "/*", "remote_addr": "10.1.2.0/24"}
    plugins = {"mocking": {"response_example": "near"}}
    app = PingSIX(config={"pingsix": settings, "routes": [{**near, "plugins": plugins}]})
    await app.startup()
    try:
        answer = await Client(app).request("GET", "/", headers=headers, address=address)
    finally:
        await app.shutdown()
    assert answer.status == status


@pytest.mark.parametrize("believes", [True, False])
async def test_in_process_nobody_is_believed_unless_the_settings_say_so(believes: bool) -> None:
    inside = EchoApp(b"app")
    config: dict[str, Any] = {"pingsix": {"real_ip_from": ["127.0.0.1"]} if believes else {}}
    config["routes"] = [{"id": "1", "uri": "/*", "plugins": {"request-id": {}}}]
    app = PingSIX(inside, config=config)
    await app.startup()
    try:
        await Client(app).get("/", {"x-real-ip": "10.1.2.3"})
    finally:
        await app.shutdown()
    assert inside.scopes[0]["client"][0] == ("10.1.2.3" if believes else "127.0.0.1")
