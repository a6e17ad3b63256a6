"""gzip and brotli: which responses, which headers, any chunking, events keep moving."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingsix_asgi.errors import SchemaError, UpstreamProtocolError
from pingsix_asgi.http.encoding import MAX_RATIO
from pingsix_asgi.middleware.brotli import Brotli
from pingsix_asgi.middleware.echo import Echo
from pingsix_asgi.middleware.gzip import Gzip
from pingsix_asgi.middleware.response_rewrite import ResponseRewrite
from pingsix_asgi.plugin.compression import MAX_PIECE_BYTES
from pingsix_asgi.testing import Answer, Client, EchoApp, alone, together

PAGE = b"<p>hello</p>" * 50
HTML = {"content-type": "text/html; charset=utf-8"}


def decoded(answer: Answer) -> bytes:
    coding = answer.header("content-encoding")
    decode: dict[str | None, Callable[[bytes], bytes]] = {
        None: bytes,
        "gzip": gzip.decompress,
        "br": brotli.decompress,
    }
    return decode[coding](answer.body)


@pytest.mark.parametrize(("plugin", "coding"), [(Gzip, "gzip"), (Brotli, "br")])
@pytest.mark.parametrize(
    ("options", "sent", "accept", "compressed"),
    [
        ({}, {}, "@", True),
        ({}, {}, "", False),
        ({}, {}, "identity", False),
        ({}, {}, "*", True),
        ({}, {}, "deflate, @;q=0.5", True),
        ({}, {}, "@;q=0", False),
        ({}, {}, "@;q=0.0, *", False),
        ({}, {}, "*;q=0", False),
        ({}, {"content-type": "text/plain"}, "@", False),
        ({"types": ["text/plain"]}, {"content-type": "text/plain;charset=x"}, "@", True),
        ({"types": "*"}, {"content-type": "image/png"}, "@", True),
        ({"types": "*"}, {"content-type": None}, "@", False),
        ({}, {"content-encoding": "zstd"}, "@", False),
        ({}, {"cache-control": "public, no-transform"}, "@", False),
        ({"min_length": 601}, {}, "@", False),
        ({"min_length": 600}, {}, "@", True),
    ],
)
async def test_which_responses(
    plugin: Any, coding: str, options: Any, sent: Any, accept: str, compressed: bool
) -> None:
    headers = {name: value for name, value in {**HTML, **sent}.items() if value is not None}
    app = alone(plugin, EchoApp(PAGE, headers=headers), **options)
    answer = await Client(app).get("/", {"accept-encoding": accept.replace("@", coding)})
    if "content-encoding" in sent:
        assert answer.body == PAGE
        return
    assert answer.header("content-encoding") == (coding if compressed else None)
    assert decoded(answer) == PAGE
    assert answer.header("content-length") == (None if compressed else str(len(PAGE)))


@pytest.mark.parametrize("status", [204, 206, 304])
async def test_statuses_that_stay(status: int) -> None:
    body = PAGE if status == 206 else b""
    app = alone(Gzip, EchoApp([body], status=status, headers=HTML))
    answer = await Client(app).get("/", {"accept-encoding": "gzip"})
    assert (answer.body, answer.header("content-encoding")) == (body, None)


async def test_head_and_old_clients_stay() -> None:
    app = alone(Gzip, EchoApp(PAGE, headers=HTML))
    head = await Client(app).request("HEAD", "/", headers={"accept-encoding": "gzip"})
    assert head.header("content-encoding") is None
    old = Client(app, http_version="1.0")
    assert (await old.get("/", {"accept-encoding": "gzip"})).body == PAGE
    app = alone(Gzip, EchoApp(PAGE, headers=HTML), http_version=1.0)
    old = Client(app, http_version="1.0")
    assert decoded(await old.get("/", {"accept-encoding": "gzip"})) == PAGE


@pytest.mark.parametrize(("etag", "expected"), [('"x"', 'W/"x"'), ('W/"x"', 'W/"x"'), ("x", None)])
async def test_entity_tags_are_weakened(etag: str, expected: str | None) -> None:
    sent = {**HTML, "etag": etag, "last-modified": "yesterday", "accept-ranges": "bytes"}
    app = alone(Gzip, EchoApp(PAGE, headers=sent))
    answer = await Client(app).get("/", {"accept-encoding": "gzip"})
    assert answer.header("etag") == expected
    assert answer.header("last-modified") == "yesterday"
    assert answer.header("accept-ranges") is None


async def test_vary_is_told_to_every_client() -> None:
    app = alone(Gzip, EchoApp(PAGE, headers={**HTML, "vary": "Via"}), vary=True)
    for accept in ("gzip", "identity"):
        answer = await Client(app).get("/", {"accept-encoding": accept})
        assert answer.header("vary") == "Via, Accept-Encoding"
    app = alone(Gzip, EchoApp(PAGE, headers=HTML))
    assert (await Client(app).get("/", {"accept-encoding": "gzip"})).header("vary") is None


@pytest.mark.parametrize("plugin", [Gzip, Brotli])
@settings(max_examples=30, deadline=None)
@given(chunks=st.lists(st.binary(max_size=300), min_size=1, max_size=8), sized=st.booleans())
async def test_any_chunking_gives_the_same_bytes(
    plugin: Any, chunks: list[bytes], sized: bool
) -> None:
    body = b"".join(chunks)
    headers = {**HTML, "content-length": str(len(body))} if sized else HTML
    app = alone(plugin, EchoApp(chunks, headers=headers), min_length=1)
    answer = await Client(app).get("/", {"accept-encoding": "gzip, br"})
    assert decoded(answer) == body


@pytest.mark.parametrize("plugin", [Gzip, Brotli])
async def test_each_event_can_be_read_when_it_was_sent(plugin: Any) -> None:
    events = [b"data: one\n\n", b"data: two\n\n", b"data: three\n\n"]
    sent = EchoApp(events, headers={"content-type": "text/event-stream"})
    answer = await Client(alone(plugin, sent, types=["text/event-stream"])).get(
        "/", {"accept-encoding": "gzip, br"}
    )
    unzip = zlib.decompressobj(31).decompress if plugin is Gzip else brotli.Decompressor().process
    assert [unzip(chunk) for chunk in answer.chunks[:3]] == events


async def test_both_together_give_brotli_once() -> None:
    app = together({Gzip: {}, Brotli: {}}, EchoApp(PAGE, headers=HTML))
    answer = await Client(app).get("/", {"accept-encoding": "gzip, br"})
    assert answer.header("content-encoding") == "br"
    assert decoded(answer) == PAGE
    answer = await Client(app).get("/", {"accept-encoding": "gzip"})
    assert answer.header("content-encoding") == "gzip"
    assert decoded(answer) == PAGE


@pytest.mark.parametrize("plugin", [Gzip, Brotli])
async def test_what_later_plugins_do_to_the_body_is_compressed_too(plugin: Any) -> None:
    confs = {plugin: {}, ResponseRewrite: {"body": "new " * 50}, Echo: {"after_body": "end"}}
    app = together(confs, EchoApp(PAGE, headers=HTML))
    answer = await Client(app).get("/", {"accept-encoding": "gzip, br"})
    assert answer.header("content-encoding") is not None
    assert decoded(answer) == b"new " * 50 + b"end"


@pytest.mark.parametrize(
    ("plugin", "coding", "body"),
    [(Gzip, "gzip", gzip.compress(PAGE)), (Brotli, "br", brotli.compress(PAGE))],
    ids=["gzip", "br"],
)
async def test_decompression_for_clients_that_cannot(plugin: Any, coding: str, body: bytes) -> None:
    chunks = [body[:10], body[10:]]
    sent = EchoApp(chunks, headers={**HTML, "content-encoding": coding, "etag": '"x"'})
    client = Client(alone(plugin, sent, decompression=True))
    answer = await client.get()
    assert (answer.body, answer.header("content-encoding")) == (PAGE, None)
    assert (answer.header("vary"), answer.header("etag")) == ("Accept-Encoding", 'W/"x"')
    assert (await client.get("/", {"accept-encoding": coding})).body == body
    assert (await Client(alone(plugin, sent)).get()).body == body


async def decompressed(plugin: Any, coding: str, chunks: list[bytes]) -> bytes:
    sent = EchoApp(chunks, headers={**HTML, "content-encoding": coding})
    return (await Client(alone(plugin, sent, decompression=True)).get()).body


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_every_member_of_a_gzip_body_is_decompressed(size: int) -> None:
    body = gzip.compress(b"one, ") + bytes(3) + gzip.compress(b"two") + gzip.compress(b"") + b"\0"
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    assert await decompressed(Gzip, "gzip", chunks) == b"one, two"


@pytest.mark.parametrize(
    ("plugin", "coding", "body", "reason"),
    [
        (Gzip, "gzip", gzip.compress(PAGE)[:-5], "ends too early"),
        (Gzip, "gzip", b"\x1f\x8b\x08\0garbage garbage garbage", "Error -3"),
        (Gzip, "gzip", gzip.compress(PAGE) + b"more", "Error -3"),
        (Brotli, "br", brotli.compress(PAGE)[:-1], "ends too early"),
        (Brotli, "br", b"garbage garbage", "decoder failed"),
        (Gzip, "gzip", gzip.compress(bytes(32 << 20)), "more than 100 times"),
        (Brotli, "br", brotli.compress(bytes(32 << 20)), "more than 100 times"),
    ],
)
async def test_what_cannot_be_decompressed_aborts_the_response(
    plugin: Any, coding: str, body: bytes, reason: str
) -> None:
    with pytest.raises(UpstreamProtocolError, match=reason):
        await decompressed(plugin, coding, [body[:10], body[10:]])


async def test_a_piece_that_decompresses_to_too_much_aborts_the_response() -> None:
    size = 70_000
    random = Random(1)
    body = gzip.compress(b"".join(random.randbytes(10) + bytes(1014) for _ in range(size)))
    assert len(body) * MAX_RATIO > 1024 * size > MAX_PIECE_BYTES
    with pytest.raises(UpstreamProtocolError, match="a piece of it"):
        await decompressed(Gzip, "gzip", [body])
    half = len(body) // 2
    assert len(await decompressed(Gzip, "gzip", [body[:half], body[half:]])) == 1024 * size


@pytest.mark.parametrize(
    ("plugin", "options"),
    [
        (Gzip, {"comp_level": 0}),
        (Gzip, {"comp_level": 10}),
        (Gzip, {"http_version": 2}),
        (Gzip, {"types": []}),
        (Gzip, {"types": "x"}),
        (Gzip, {"min_length": 0}),
        (Gzip, {"buffers": {"number": 0}}),
        (Gzip, {"vary": 0}),
        (Brotli, {"comp_level": 12}),
        (Brotli, {"mode": 3}),
        (Brotli, {"lgwin": 9}),
        (Brotli, {"lgblock": 15}),
    ],
)
def test_bad_options(plugin: Any, options: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match=next(iter(options))):
        alone(plugin, **options)


@pytest.mark.parametrize("options", [{"lgwin": 0}, {"lgblock": 16, "mode": 1, "comp_level": 0}])
async def test_brotli_settings(options: Any) -> None:
    answer = await Client(alone(Brotli, EchoApp(PAGE, headers=HTML), **options)).get(
        "/", {"accept-encoding": "br"}
    )
    assert decoded(answer) == PAGE
