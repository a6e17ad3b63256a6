"""``discovery.dns.servers`` and ``defaults.cache`` of the settings take effect."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.app import PingSIX
from pingsix_asgi.errors import InvalidConfig
from pingsix_asgi.testing import Client, EchoApp
from support.dns_server import dns_server
from support.servers import serving


async def test_names_are_asked_of_the_servers_in_the_settings() -> None:
    async with dns_server() as names, serving(EchoApp(b"found")) as upstream:
        names.records["shop.test", "A"] = ["127.0.0.1"]
        nodes = {f"shop.test:{upstream.port}": 1}
        gateway = PingSIX(
            config={
                "pingsix": {"discovery": {"dns": {"servers": [names.address]}}},
                "routes": [{"id": "1", "uri": "/*", "upstream": {"nodes": nodes}}],
            }
        )
        await gateway.startup()
        try:
            assert (await Client(gateway).get("/")).text == "found"
        finally:
            await gateway.shutdown()


async def test_bounds_of_the_cache_come_from_the_settings() -> None:
    app = EchoApp(b"twelve bytes")
    for limit, status in ((12, "MISS"), (1000, "HIT")):
        config: dict[str, Any] = {
            "pingsix": {"defaults": {"cache": {"default_max_object_bytes": limit}}},
            "routes": [{"id": "1", "uri": "/*", "plugins": {"cache": {"ttl": 60}}}],
        }
        gateway = PingSIX(app, config=config)
        await gateway.startup()
        try:
            client = Client(gateway)
            answers = [await client.get("/") for _ in range(2)]
        finally:
            await gateway.shutdown()
        assert answers[1].header("x-cache-status") == status


@pytest.mark.parametrize("server", ["dns.test", "127.0.0.1:", "127.0.0.1:x:y", ""])
def test_a_server_that_is_no_address_is_refused(server: str) -> None:
    config = {"pingsix": {"discovery": {"dns": {"servers": [server]}}}}
    with pytest.raises(InvalidConfig, match=r"discovery.*address"):
        PingSIX(config=config)
