"""The gateway between sockets where client, plugin or node is unusual: what each side gets."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from pingsix_asgi import PingSIX
from support.raw_upstream import OK, Peer, Script, answering, raw_upstream
from support.servers import serving


def gateway(port: int, plugins: Any = None, **route: Any) -> PingSIX:
    """A gateway whose only route leads to ``port``."""
    upstream = {"nodes": {f"127.0.0.1:{port}": 1}}
    fields = {"id": "1", "uri": "/*", "plugins": plugins or {}, "upstream": upstream}
    return PingSIX(config={"routes": [{**fields, **route}]})


async def talk(port: int, *requests: bytes, pause_s: float = 0.1) -> bytes:
    """Send requests on one connection, one after the other; return all until it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        writer.write(request)
        await asyncio.sleep(pause_s)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def request(line: str = "GET /", *fields: str, body: bytes = b"") -> bytes:
    lines = (f"{line} HTTP/1.1", "host: a.test", *fields, "", "")
    return "\r\n".join(lines).encode() + body


LAST = request("GET /last", "connection: close")
SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n" + OK[:30]
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


async def in_pieces(peer: Peer) -> None:
    while True:
        await peer.request()
        for piece in (CHUNKED[:-5], b"5\r\nworld\r\n", b"0\r\n\r\n"):
            await peer.send(piece)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize(
    "script", [answering(SIZED), answering(CHUNKED), in_pieces], ids=["sized", "chunked", "pieces"]
)
async def test_a_status_without_body_takes_the_body_away(
    script: Script, status: int, http: str
) -> None:
    async with raw_upstream(script) as node:
        app = gateway(node.port, {"response-rewrite": {"status_code": status}})
        async with serving(app, http=http) as served:
            answer = (await talk(served.port, request(), LAST)).lower()
    assert answer.count(b"\r\n\r\n") == answer.count(b"http/1.1 %d" % status) == 2
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length" not in answer
    assert b"transfer-encoding" not in answer


async def test_a_status_that_allows_a_body_again_is_framed() -> None:
    async with raw_upstream(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as node:
        app = gateway(node.port, {"response-rewrite": {"status_code": 200, "body": "hello"}})
        async with serving(app) as served:
            answer = await talk(served.port, request(), LAST)
    assert answer.count(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n") == 2


INNER = request("GET /inner")
UPGRADE = ("connection: upgrade", "upgrade: other")


@pytest.mark.parametrize(
    "framing",
    [f"content-length: {len(INNER)}", "transfer-encoding: chunked"],
    ids=["sized", "chunked"],
)
@pytest.mark.parametrize("variables", [None, [["post_arg.x", "==", None]]], ids=["", "read before"])
@pytest.mark.parametrize("apart", [True, False])
async def test_a_body_that_the_server_gave_up_on_is_no_request(
    framing: str, variables: Any, apart: bool
) -> None:
    """uvicorn's httptools protocol ends the request at an upgrade it does not know."""
    head = request("POST /", *UPGRADE, framing)
    async with (
        raw_upstream(answering(OK)) as node,
        serving(gateway(node.port, vars=variables), http="httptools") as served,
    ):
        parts = (head, INNER) if apart else (head + INNER,)
        answer = await talk(served.port, *parts)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert node.heads == []


async def test_a_body_that_the_server_gave_up_on_is_no_request_after_a_refusal() -> None:
    head = request("POST /", *UPGRADE, f"content-length: {len(INNER)}")
    plugins = {"fault-injection": {"abort": {"http_status": 403}}}
    async with serving(gateway(1, plugins), http="httptools") as served:
        answer = await talk(served.port, head, INNER)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_an_upgrade_without_body_is_passed_on_as_a_request(http: str) -> None:
    async with (
        raw_upstream(answering(OK)) as node,
        serving(gateway(node.port), http=http) as served,
    ):
        empty = request("POST /", *UPGRADE, "content-length: 0")
        answer = await talk(served.port, request("GET /", *UPGRADE), empty, LAST)
    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert all(b"upgrade" not in head for head in node.heads)


async def names_its_host(peer: Peer) -> None:
    while True:
        head = await peer.request()
        host = head.split(b"host: ")[1].split(b"\r\n")[0]
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(host), host))


@pytest.mark.parametrize(
    "plugins",
    [
        {"cache": {"ttl": 60}},
        {"proxy-cache": {"cache_zone": "memory_cache", "cache_strategy": "memory"}},
    ],
    ids=["cache", "proxy-cache"],
)
async def test_an_answer_for_another_port_is_not_served_from_a_cache(plugins: Any) -> None:
    async with (
        raw_upstream(names_its_host) as node,
        serving(gateway(node.port, plugins)) as served,
    ):
        for host in (b"a.test:1337", b"a.test", b"a.test:80"):
            answer = await talk(served.port, LAST.replace(b"a.test", host), pause_s=0)
            assert answer.endswith(b"\r\n\r\n" + host.removesuffix(b":80"))


async def test_a_get_that_is_proxied_as_head_has_no_length_without_a_body() -> None:
    async def head(peer: Peer) -> None:
        while True:
            assert (await peer.request()).startswith(b"HEAD ")
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nx-a: 1\r\n\r\n")

    async with (
        raw_upstream(head) as node,
        serving(gateway(node.port, {"proxy-rewrite": {"method": "HEAD"}})) as served,
    ):
        answer = await talk(served.port, request(), request("HEAD /"), LAST)
    first, second, third = answer.split(b"HTTP/1.1 200 OK\r\n")[1:]
    for got in (first, third):
        assert b"x-a: 1" in got
        assert b"content-length: 100" not in got
        assert got.endswith(b"\r\n\r\n0\r\n\r\n")
    assert b"content-length: 100" in second


async def test_a_head_answered_204_announces_no_body() -> None:
    answers = answering(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n")
    async with raw_upstream(answers) as node, serving(gateway(node.port)) as served:
        for method in ("HEAD", "GET"):
            answer = await talk(served.port, LAST.replace(b"GET", method.encode()), pause_s=0)
            assert b" 204 " in answer
            assert b"content-length" not in answer


async def silent(peer: Peer) -> None:
    await peer.request()


async def resets(peer: Peer) -> None:
    await peer.request()
    peer.reset()


@pytest.mark.parametrize(
    ("scripts", "shown"),
    [
        ([silent], b"504"),
        ([resets, resets, resets], b"502, 502, 502"),
        ([answering(b"nonsense\r\n\r\n")], b"502"),
        ([answering(b"HTTP/1.1 503 Sorry\r\ncontent-length: 0\r\n\r\n")], b"503"),
    ],
    ids=["timeout", "reset", "nonsense", "of the node"],
)
async def test_attempts_are_shown_when_nodes_fail(scripts: list[Script], shown: bytes) -> None:
    async with contextlib.AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(raw_upstream(script)) for script in scripts]
        upstream = {
            "nodes": {f"127.0.0.1:{raw.port}": 1 for raw in raws},
            "timeout": {"connect": 5, "send": 5, "read": 0.5},
        }
        served = await stack.enter_async_context(serving(gateway(0, upstream=upstream)))
        answer = await talk(served.port, LAST)
    assert answer.startswith(b"HTTP/1.1 " + shown[:3])
    assert b"x-apisix-upstream-status: %b\r\n" % shown in answer


async def test_attempts_are_not_shown_when_a_plugin_answers() -> None:
    plugins = {"fault-injection": {"abort": {"http_status": 502, "body": "no"}}}
    async with serving(gateway(1, plugins)) as served:
        answer = await talk(served.port, LAST)
    assert b" 502 " in answer
    assert b"x-apisix-upstream-status" not in answer


async def test_a_variable_in_a_new_path_leads_nowhere_else() -> None:
    plugins = {"proxy-rewrite": {"uri": "/public/$arg_name"}}
    async with raw_upstream(answering(OK)) as node, serving(gateway(node.port, plugins)) as served:
        for name, status in (("a%3Fb", 200), ("../admin", 200), ("../../etc", 400)):
            line = f"GET /?name={name}"
            answer = await talk(served.port, request(line, "connection: close"), pause_s=0)
            assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert [head.split()[1].partition(b"?")[0] for head in node.heads[1:]] == [b"/admin"]
    assert node.heads[0].startswith(b"GET /public/a%253Fb?")
