"""response-rewrite: status, headers, bodies, filters."""

from __future__ import annotations

import base64
import gzip
import zlib
from typing import Any

import brotli
import pytest

from pingsix_asgi.errors import SchemaError, UpstreamProtocolError
from pingsix_asgi.middleware.key_auth import KeyAuth
from pingsix_asgi.middleware.response_rewrite import ResponseRewrite
from pingsix_asgi.testing import Client, EchoApp, alone, together

OLD = {
    "content-type": "text/plain",
    "etag": '"x"',
    "last-modified": "Wed, 21 Oct 2015 07:28:00 GMT",
    "x-server": "old",
}


async def test_status_headers_and_body_together() -> None:
    app = alone(
        ResponseRewrite,
        EchoApp([b"a", b"b"], headers=OLD),
        status_code=403,
        headers={"X-Server": 3, "Content-Type": ""},
        body="new body\n",
    )
    answer = await Client(app).get()
    assert (answer.status, answer.body) == (403, b"new body\n")
    assert answer.headers == [(b"x-server", b"3")]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"add": ["X-A: b"]}, [(b"x-a", b"a"), (b"x-a", b"b")]),
        ({"add": ["X-A:b"]}, [(b"x-a", b"a"), (b"x-a", b"b")]),
        ({"add": ["X-A: $remote_addr!"]}, [(b"x-a", b"a"), (b"x-a", b"127.0.0.1!")]),
        ({"add": ["X-A: b"], "set": {"X-A": "c"}}, [(b"x-a", b"c")]),
        ({"set": {"X-A": "$status"}}, [(b"x-a", b"200")]),
        ({"set": {"X-B": "1"}, "remove": ["X-A"]}, [(b"x-b", b"1")]),
        ({"set": "v"}, [(b"x-a", b"a"), (b"set", b"v")]),
        ({"X-A": "$upstream_nosuch"}, []),
        ({"add": ["X-B: $upstream_nosuch"]}, [(b"x-a", b"a")]),
    ],
)
async def test_headers(headers: Any, expected: Any) -> None:
    app = alone(ResponseRewrite, EchoApp([b""], headers={"x-a": "a"}), headers=headers)
    assert (await Client(app).get()).headers == expected


async def test_base64_bodies_and_an_empty_body() -> None:
    data = bytes(range(256))
    body = base64.b64encode(data).decode()
    assert (await Client(alone(ResponseRewrite, body=body, body_base64=True)).get()).body == data
    assert (await Client(alone(ResponseRewrite, body="")).get()).body == b""


@pytest.mark.parametrize(("status", "rewritten"), [(200, False), (500, True)])
async def test_vars_see_the_status(status: int, rewritten: bool) -> None:
    options = {"vars": [["status", "==", 500]], "body": "sorry", "status_code": 403}
    app = alone(ResponseRewrite, EchoApp(status=status), **options)
    answer = await Client(app).get()
    assert (answer.status, answer.text) == ((403, "sorry") if rewritten else (status, "hello"))


async def test_the_gateways_own_answers_are_rewritten_too() -> None:
    app = together({KeyAuth: {}, ResponseRewrite: {"status_code": 404, "body": "nothing here"}})
    answer = await Client(app).get()
    assert (answer.status, answer.text) == (404, "nothing here")


@pytest.mark.parametrize(
    ("filters", "chunks", "expected"),
    [
        ([{"regex": "o", "replace": "0"}], [b"hello", b" world"], b"hell0 world"),
        (
            [{"regex": "o", "replace": "0", "scope": "global"}],
            [b"hello", b" world"],
            b"hell0 w0rld",
        ),
        ([{"regex": "lo w", "replace": "-"}], [b"hello", b" world"], b"hel-orld"),
        ([{"regex": "HELLO", "replace": "x", "options": "i"}], [b"hello"], b"x"),
        ([{"regex": "(h)(e)", "replace": "$2${1}"}], [b"hello"], b"ehllo"),
        ([{"regex": "a", "replace": "b"}, {"regex": "b", "replace": "c"}], [b"a"], b"c"),
        ([{"regex": "nothing", "replace": "x"}], [b"hello"], b"hello"),
        ([{"regex": "é", "replace": "ü"}], ["né".encode()], "nü".encode()),
        ([{"regex": "h", "replace": "j"}], [b"\xff\x00h"], b"\xff\x00j"),
    ],
)
async def test_filters(filters: Any, chunks: list[bytes], expected: bytes) -> None:
    app = alone(ResponseRewrite, EchoApp(chunks), filters=filters)
    assert (await Client(app).get()).body == expected


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"hello")),
        ("gzip", gzip.compress(b"he") + gzip.compress(b"llo")),
        ("br", brotli.compress(b"hello")),
        ("deflate", zlib.compress(b"hello")),
        ("deflate", zlib.compress(b"hello", wbits=-15)),
    ],
    ids=["gzip", "two members", "br", "deflate", "raw deflate"],
)
async def test_filters_decode_first(coding: str, body: bytes) -> None:
    sent = EchoApp(body, headers={"content-encoding": coding})
    options = {"filters": [{"regex": "hello", "replace": "bye"}]}
    answer = await Client(alone(ResponseRewrite, sent, **options)).get()
    assert (answer.text, answer.header("content-encoding")) == ("bye", None)


async def test_an_unknown_encoding_passes_unchanged() -> None:
    sent = EchoApp(b"hello", headers={"content-encoding": "zstd"})
    options = {"filters": [{"regex": "hello", "replace": "bye"}]}
    answer = await Client(alone(ResponseRewrite, sent, **options)).get()
    assert (answer.text, answer.header("content-encoding")) == ("hello", "zstd")
    assert answer.header("content-length") == "5"


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"hello")[:-1],
        b"hello",
        gzip.compress(b"a" * 10_000_000),
    ],
    ids=["too short", "not gzip", "a bomb"],
)
async def test_what_cannot_be_decoded_aborts_the_response(body: bytes) -> None:
    sent = EchoApp(body, headers={"content-encoding": "gzip"})
    options = {"filters": [{"regex": "hello", "replace": "bye"}]}
    with pytest.raises(UpstreamProtocolError, match="cannot be decoded"):
        await Client(alone(ResponseRewrite, sent, **options)).get()


async def test_filters_hold_and_decode_no_more_than_their_limit() -> None:
    options = {"filters": [{"regex": "x", "replace": "y"}], "max_resp_body_size": 5}
    assert (
        await Client(alone(ResponseRewrite, EchoApp([b"aaa", b"bbb"]), **options)).get()
    ).body == b"aaabb"
    bomb = EchoApp(gzip.compress(b"a" * 10_000_000), headers={"content-encoding": "gzip"})
    options["max_resp_body_size"] = 50_000
    assert len((await Client(alone(ResponseRewrite, bomb, **options)).get()).body) == 50_000


async def test_without_body_and_filters_the_encoding_stays_and_head_has_no_body() -> None:
    sent = EchoApp(b"", headers={"content-encoding": "gzip"})
    answer = await Client(alone(ResponseRewrite, sent, headers={"a": "b"})).get()
    assert answer.header("content-encoding") == "gzip"
    answer = await Client(alone(ResponseRewrite, EchoApp(b""), body="x")).request("HEAD", "/")
    assert answer.body == b""


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"status_code": 599}, "expected 599 to be at most 598"),
        ({"body": 2}, "wrong type: expected string, got number"),
        ({"headers": {"": 2}}, "invalid field length in header"),
        ({"headers": {"X-Name": []}}, "invalid type as header value"),
        ({"headers": {"add": ["nocolon"]}}, "object matches none of the required"),
        ({"body": "1", "body_base64": True}, "invalid base64 content"),
        ({"body_base64": True}, "invalid base64 content"),
        ({"body": "", "body_base64": True}, "invalid base64 content"),
        ({"vars": [["status", "=~", 200]]}, "failed to validate the 'vars' expression"),
        ({"filters": []}, "at least 1 items"),
        ({"filters": [{"regex": "", "replace": ""}]}, "string too short"),
        ({"filters": [{"regex": "(", "replace": ""}]}, 'regex "\\(" validation failed'),
        (
            {"filters": [{"regex": "a", "replace": ""}], "body": "x"},
            "failed to validate dependent schema",
        ),
        ({"filters": [{"regex": "a", "replace": "", "scope": "two"}]}, "none of the enum"),
    ],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        alone(ResponseRewrite, **options)
