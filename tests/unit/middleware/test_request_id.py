"""request-id: keep, make, echo."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware.request_id import RequestID
from pingsix_asgi.testing import Client, EchoApp, alone, together

UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({}, UUID4),
        ({"algorithm": "uuidv7"}, UUID4.replace("-4[", "-7[")),
        ({"algorithm": "nanoid"}, r"[A-Za-z0-9_-]{21}"),
        ({"algorithm": "ksuid"}, r"[0-9A-Za-z]{27}"),
        ({"algorithm": "range_id"}, r"[A-Za-z0-9]{16}"),
        ({"algorithm": "range_id", "range_id": {"length": 6, "char_set": "aaabbb"}}, r"[ab]{6}"),
    ],
)
async def test_the_same_new_id_goes_up_and_comes_back(
    options: dict[str, object], pattern: str
) -> None:
    app = EchoApp()
    client = Client(alone(RequestID, app, **options))
    answers = [await client.get() for _ in range(3)]
    ids = [answer.header("x-request-id") for answer in answers]
    assert all(re.fullmatch(pattern, text or "") for text in ids)
    assert app.header("x-request-id") == ids[-1]
    assert len(app.scopes[0]["headers"]) == 2


FORKING = """
import os
from pingsix_asgi.middleware.request_id import _uuid4
_uuid4()  # now there is a stock
child = os.fork()
os.write(1, f"{_uuid4()}\\n".encode())
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_worker_gives_other_ids() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, check=True)
    assert len(set(done.stdout.split())) == 2


async def test_ids_differ() -> None:
    client = Client(alone(RequestID))
    assert len({(await client.get()).header("x-request-id") for _ in range(100)}) == 100


async def test_a_client_id_is_kept_and_an_empty_one_replaced() -> None:
    app = EchoApp()
    client = Client(alone(RequestID, app))
    assert (await client.get("/", {"X-Request-Id": "mine"})).header("x-request-id") == "mine"
    assert app.header("x-request-id") == "mine"
    answer = await client.get("/", {"X-Request-Id": ""})
    assert re.fullmatch(UUID4, app.header("x-request-id") or "")
    assert answer.header("x-request-id") == app.header("x-request-id")


async def test_an_id_of_the_target_is_kept_unless_empty() -> None:
    client = Client(alone(RequestID, EchoApp(headers={"x-request-id": "theirs"})))
    assert (await client.get()).all("x-request-id") == ["theirs"]
    client = Client(alone(RequestID, EchoApp(headers={"x-request-id": ""})))
    assert (await client.get("/", {"x-request-id": "mine"})).all("x-request-id") == ["mine"]


async def test_it_can_stay_out_of_the_response() -> None:
    answer = await Client(alone(RequestID, include_in_response=False)).get()
    assert answer.header("x-request-id") is None


async def test_a_second_instance_with_another_header_makes_another_id() -> None:
    class Other(RequestID):
        name = "request-id-2"

    app = together({RequestID: {}, Other: {"header_name": "X-Trace"}})
    answer = await Client(app).get()
    assert answer.header("x-trace")
    assert answer.header("x-trace") != answer.header("x-request-id")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"algorithm": "bad"}, 'property "algorithm" validation failed: matches none of the enum'),
        ({"range_id": {"length": 5}}, "expected 5 to be at least 6"),
        ({"range_id": {"char_set": "abcde"}}, "string too short, expected at least 6, got 5"),
        ({"header_name": "a b"}, "failed to match pattern"),
    ],
)
def test_bad_options(options: dict[str, object], text: str) -> None:
    with pytest.raises(SchemaError, match=re.escape(text)):
        alone(RequestID, **options)
