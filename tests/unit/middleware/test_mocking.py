"""mocking: examples and made-up data."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware import mocking
from pingsix_asgi.middleware.mocking import Mocking
from pingsix_asgi.testing import Client, EchoApp, alone

SCHEMA = {
    "type": "object",
    "properties": {
        "s": {"type": "string"},
        "s2": {"type": "string", "example": "given"},
        "n": {"type": "number"},
        "i": {"type": "integer", "example": 7.9},
        "b": {"type": "boolean"},
        "b2": {"type": "boolean", "example": False},
        "a": {"type": "array", "items": {"type": "integer"}},
        "o": {"type": "object", "properties": {"x": {"type": "string", "example": "<&>"}}},
    },
}


async def test_an_example_with_variables() -> None:
    app = EchoApp()
    client = Client(alone(Mocking, app, response_example='{"q":"$arg_q"}', response_status=201))
    answer = await client.get("/?q=5")
    assert (answer.status, answer.json()) == (201, {"q": "5"})
    assert answer.header("content-type") == "application/json;charset=utf8"
    assert (answer.header("x-mock-by") or "").startswith("PingSIX/")
    assert app.scopes == []


async def test_data_made_up_from_a_schema() -> None:
    made = (await Client(alone(Mocking, response_schema=SCHEMA)).get()).json()
    assert (made["s2"], made["i"], made["b2"], made["o"]) == ("given", 7, False, {"x": "<&>"})
    assert 1 <= len(made["s"]) <= 10
    assert 0 <= made["n"] < 10000
    assert isinstance(made["b"], bool)
    assert 1 <= len(made["a"]) <= 3


async def test_xml() -> None:
    app = alone(Mocking, response_schema=SCHEMA, content_type="text/xml")
    tree = ElementTree.fromstring((await Client(app).get()).body)
    assert tree.tag == "data"
    assert tree.findtext("o/x") == "<&>"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", '{"ip":"127.0.0.1"}'),
        ("application/xml", "<data><ip>127.0.0.1</ip></data>"),
        ("text/html", ""),
    ],
)
async def test_variables_in_examples_of_a_schema(kind: str, body: str) -> None:
    schema = {"properties": {"ip": {"type": "string", "example": "$remote_addr"}}}
    app = alone(Mocking, response_schema=schema, content_type=kind)
    assert (await Client(app).get()).text == body


async def test_headers_and_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(mocking.asyncio, "sleep", sleep)
    headers = {"X-A": "$remote_addr", "X-N": 1}
    app = alone(
        Mocking, response_example="x", delay=2, with_mock_header=False, response_headers=headers
    )
    answer = await Client(app).get()
    assert naps == [2]
    assert answer.header("x-mock-by") is None
    assert (answer.header("x-a"), answer.header("x-n")) == ("127.0.0.1", "1")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "object matches none of the required"),
        ({"response_example": "x", "content_type": "image/png"}, "unsupported content type!"),
        ({"response_example": "x", "delay": -1}, "to be at least 0"),
    ],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        alone(Mocking, **options)
