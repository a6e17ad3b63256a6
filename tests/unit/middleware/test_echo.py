"""echo: before, body, after, headers."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware.echo import Echo
from pingsix_asgi.testing import Client, EchoApp, alone


@pytest.mark.parametrize(
    ("options", "chunks", "expected"),
    [
        ({"before_body": "<"}, [b"a", b"b"], b"<ab"),
        ({"after_body": ">"}, [b"a", b"b"], b"ab>"),
        ({"body": "new"}, [b"a", b"b", b"c"], b"new"),
        ({"before_body": "<", "body": "new", "after_body": ">"}, [b"a", b"b"], b"<new>"),
        ({"before_body": "<", "after_body": ">"}, [b"a"], b"<a>"),
        ({"body": "new"}, [b""], b"new"),
    ],
)
async def test_bodies(options: Any, chunks: list[bytes], expected: bytes) -> None:
    answer = await Client(alone(Echo, EchoApp(chunks), **options)).get()
    assert answer.body == expected


async def test_headers_are_set_and_those_of_the_old_body_go() -> None:
    sent = {"content-type": "text/plain", "etag": '"x"', "content-encoding": "gzip", "x-a": "old"}
    app = alone(Echo, EchoApp(b"a", headers=sent), body="b", headers={"X-A": "new", "X-N": 5})
    answer = await Client(app).get()
    assert answer.header("x-a") == "new"
    assert answer.header("x-n") == "5"
    for name in ("content-length", "etag", "content-encoding"):
        assert answer.header(name) is None


async def test_a_response_to_head_stays_without_a_body() -> None:
    answer = await Client(alone(Echo, EchoApp([b""]), body="b")).request("HEAD", "/")
    assert answer.body == b""


@pytest.mark.parametrize("options", [{}, {"headers": {"a": "b"}}])
def test_some_body_is_needed(options: Any) -> None:
    with pytest.raises(SchemaError, match="object matches none of the required"):
        alone(Echo, **options)
