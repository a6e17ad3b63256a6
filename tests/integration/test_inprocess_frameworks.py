"""``PingSIX(app)`` around every framework, over real sockets: the app does not notice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from pingsix_asgi import PingSIX
from support.servers import serving
from support.wrapped import FRAMEWORKS, PIECES

CONFIG = {
    "routes": [
        {
            "id": "all",
            "uri": "/*",
            "plugins": {
                "response-rewrite": {"headers": {"set": {"X-Gateway": "yes"}}},
                "request-id": {},
            },
        },
        {"id": "shut", "uri": "/shut", "plugins": {"ip-restriction": {"whitelist": ["10.0.0.1"]}}},
    ]
}


@pytest.fixture(params=FRAMEWORKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[None, CONFIG], ids=["no route", "routes"])
def config(request: pytest.FixtureRequest) -> Any:
    return request.param or {}


@pytest.fixture(params=["auto", "off"])
async def client(
    request: pytest.FixtureRequest, name: str, config: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    app = PingSIX(FRAMEWORKS[name](), config=config)
    async with (
        # without a context per request, asgiref's threads break on kept connections, gateway or not
        serving(app, lifespan=request.param, reset_contextvars=True) as served,
        httpx2.AsyncClient(base_url=served.url, timeout=20) as client,
    ):
        yield client


async def test_the_app_answers(client: httpx2.AsyncClient, name: str, config: Any) -> None:
    answer = await client.get("/hello")
    assert (answer.status_code, answer.json()) == (200, name)
    assert ("x-gateway" in answer.headers) == bool(config)

    size = 300_000
    answer = await client.post("/echo", content=b"x" * size)
    assert (answer.status_code, answer.json()) == (200, size)

    async with client.stream("GET", "/stream") as stream:
        assert b"".join([chunk async for chunk in stream.aiter_raw()]) == b"".join(PIECES)

    assert (await client.get("/boom")).status_code == 500
    assert (await client.get("/shut")).status_code == (403 if config else missing(name))
    assert (await client.get("/hello")).status_code == 200


def missing(name: str) -> int:
    return 200 if name == "wsgi" else 404
