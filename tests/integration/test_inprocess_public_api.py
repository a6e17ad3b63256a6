"""public-api: the gateway's own metrics on a route, behind its other plugins."""

from __future__ import annotations

from pingsix_asgi.app import PingSIX
from pingsix_asgi.testing import Client


async def test_metrics_on_a_route_behind_a_key() -> None:
    config = {
        "routes": [
            {
                "id": "metrics",
                "uris": ["/apisix/prometheus/metrics", "/m"],
                "plugins": {"key-auth": {"key": "k"}, "prometheus": {}, "public-api": {}},
            },
            {"id": "other", "uri": "/x", "plugins": {"public-api": {"uri": "/no/such"}}},
        ]
    }
    gateway = PingSIX(config=config)
    await gateway.startup()
    try:
        client = Client(gateway)
        url = "/apisix/prometheus/metrics"
        assert (await client.get(url)).status == 401
        await client.get(url, {"apikey": "k"})
        answer = await client.get(url, {"apikey": "k"})
        assert answer.status == 200
        assert 'apisix_http_status{code="401",route="metrics"' in answer.text
        assert (await client.get("/m", {"apikey": "k"})).status == 404
        assert (await client.request("PATCH", url, headers={"apikey": "k"})).status == 404
        assert (await client.get("/x")).json() == {"error_msg": "404 Route Not Found"}
    finally:
        await gateway.shutdown()
