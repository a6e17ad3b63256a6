"""The Admin API on a real server, driven by curl as an operator would."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from support.admin_client import KEY, admin_over

Curl = Callable[..., Awaitable[tuple[int, dict[str, str], str]]]


@pytest.fixture
async def curl(tmp_path: Path) -> AsyncIterator[Curl]:
    async with admin_over(tmp_path) as admin:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(admin.api, lifespan="off", log_level="warning", server_header=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))

        async def run(*arguments: str) -> tuple[int, dict[str, str], str]:
            *options, path = arguments
            process = await asyncio.create_subprocess_exec(
                *("curl", "-s", "-i", "--max-time", "10", *options),
                f"http://127.0.0.1:{listener.getsockname()[1]}/apisix/admin{path}",
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
            *_, head, body = (
                output.decode().replace("HTTP/1.1 100 Continue\r\n\r\n", "").split("\r\n\r\n", 1)
            )
            first, *lines = head.split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            return int(first.split()[1]), headers, body

        yield run
        server.should_exit = True
        await serving
        listener.close()


async def test_a_session(curl: Curl) -> None:
    key = ("-H", f"X-API-KEY: {KEY}")

    async def call(*arguments: str) -> tuple[int, Any]:
        status, _, body = await curl(*key, *arguments)
        return status, json.loads(body)

    upstream = '{"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}}'
    status, _ = await call("-X", "PUT", "-d", upstream, "/upstreams/1")
    assert status == 201
    # -d sends form-urlencoded as content type: what is in the body counts, not its label.
    status, _ = await call("-X", "PUT", "-d", '{"uri": "/get", "upstream_id": "1"}', "/routes/1")
    assert status == 201
    status, found = await call("/routes/1")
    assert (status, found["value"]["uri"]) == (200, "/get")
    status, found = await call("-X", "DELETE", "/upstreams/1")
    assert (status, "still using it" in found["error_msg"]) == (400, True)
    assert (await call("-X", "PATCH", "-d", '{"methods": ["GET"]}', "/routes/1"))[0] == 200
    assert (await call("-X", "PATCH", "-d", '"/new"', "/routes/1/uri"))[0] == 200
    status, found = await call("/routes?page=1&page_size=10")
    assert (found["total"], found["list"][0]["value"]["uri"]) == (1, "/new")
    assert (await call("-X", "DELETE", "/routes/1"))[0] == 200
    assert (await call("-X", "DELETE", "/upstreams/1"))[0] == 200


async def test_headers_on_the_wire(curl: Curl) -> None:
    status, headers, body = await curl("/routes")
    assert (status, json.loads(body)["description"]) == (401, "missing apikey")
    assert headers["server"].startswith("pingsix/")
    assert "x-api-version" not in headers
    status, headers, body = await curl("-I", "-H", f"X-API-KEY: {KEY}", "")
    assert (status, body, headers["x-api-version"]) == (200, "", "v3")


async def test_a_large_body(curl: Curl, tmp_path: Path) -> None:
    sent = tmp_path / "body"
    key = ("-H", f"X-API-KEY: {KEY}", "-X", "PUT", "--data-binary", f"@{sent}")
    proto = {"content": "x" * 1024 * 1024}
    sent.write_text(json.dumps(proto))
    assert (await curl(*key, "/protos/1"))[0] == 201
    sent.write_text(json.dumps({"content": "x" * 1600 * 1024}))
    assert (await curl(*key, "/protos/1"))[0] == 400
