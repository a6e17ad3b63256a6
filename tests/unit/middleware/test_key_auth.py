"""key-auth: consumers and own keys, header and query, hiding, the anonymous consumer."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware.key_auth import KeyAuth
from pingsix_asgi.testing import Client, EchoApp, FakeConsumer, FakeConsumers, together

JACK = FakeConsumer("jack", "auth-one", credential_id="c1", custom_id="77")
GUEST = FakeConsumer("guest")


def gateway(app: EchoApp | None = None, **options: Any) -> Client:
    consumers = FakeConsumers(JACK, GUEST)
    return Client(together({KeyAuth: options}, app, consumers=consumers))


@pytest.mark.parametrize(
    ("target", "headers", "status", "message"),
    [
        ("/", {"apikey": "auth-one"}, 200, ""),
        ("/?apikey=auth-one", {}, 200, ""),
        ("/?a=1&apikey=auth%2Done&b=2", {}, 200, ""),
        ("/", {}, 401, "Missing API key in request"),
        ("/", {"apikey": "bad"}, 401, "Invalid API key in request"),
        ("/", {"apikey": ""}, 401, "Invalid API key in request"),
        ("/?apikey", {}, 401, "Invalid API key in request"),
        ("/?apikey=auth-one&apikey=auth-one", {}, 401, "Invalid API key in request"),
        ("/?apikey=auth-one", {"apikey": "bad"}, 401, "Invalid API key in request"),
        ("/?APIKEY=auth-one", {}, 401, "Missing API key in request"),
    ],
)
async def test_where_the_key_is_looked_for(
    target: str, headers: dict[str, str], status: int, message: str
) -> None:
    answer = await gateway().get(target, headers)
    assert answer.status == status
    if message:
        assert answer.json() == {"message": message}
        assert answer.header("www-authenticate") == 'apikey realm="key"'


async def test_a_repeated_header_is_refused() -> None:
    app = EchoApp()
    answer = await gateway(app).get("/", [("apikey", "auth-one"), ("apikey", "other")])
    assert answer.status == 400
    assert not app.scopes


async def test_the_upstream_learns_who_calls_and_spoofed_headers_go() -> None:
    app = EchoApp()
    spoofed = {"X-Consumer-Username": "admin", "X-Credential-Identifier": "x"}
    await gateway(app).get("/", {"apikey": "auth-one", **spoofed, "X-Consumer-Custom-ID": "x"})
    assert app.header("x-consumer-username") == "jack"
    assert app.header("x-credential-identifier") == "c1"
    assert app.header("x-consumer-custom-id") == "77"
    client = gateway(app, anonymous_consumer="guest")
    await client.get("/", {**spoofed, "X-Consumer-Custom-ID": "x"})
    assert app.header("x-consumer-username") == "guest"
    assert app.header("x-credential-identifier") is None
    assert app.header("x-consumer-custom-id") is None


@pytest.mark.parametrize(
    ("target", "headers", "query", "header"),
    [
        ("/?a=1&apikey=x&b=%20", {"apikey": "auth-one"}, b"a=1&apikey=x&b=%20", None),
        ("/?a=1&apikey=auth-one&b=%20", {}, b"a=1&b=%20", None),
        ("/?apikey=auth-one", {}, b"", None),
    ],
)
async def test_hiding_removes_only_the_source_that_was_used(
    target: str, headers: dict[str, str], query: bytes, header: str | None
) -> None:
    app = EchoApp()
    answer = await gateway(app, hide_credentials=True).get(target, headers)
    assert answer.status == 200
    assert app.scopes[0]["query_string"] == query
    assert app.header("apikey") == header


async def test_without_hiding_the_key_goes_on() -> None:
    app = EchoApp()
    await gateway(app).get("/?x=1", {"apikey": "auth-one"})
    assert app.header("apikey") == "auth-one"


async def test_the_anonymous_consumer_hides_both_and_must_exist() -> None:
    app = EchoApp()
    client = gateway(app, anonymous_consumer="guest", hide_credentials=True)
    assert (await client.get("/?apikey=bad&a=1", {"apikey": "bad"})).status == 200
    assert app.header("apikey") is None
    assert app.scopes[0]["query_string"] == b"a=1"
    answer = await gateway(anonymous_consumer="nobody").get()
    assert (answer.status, answer.json()) == (401, {"message": "Invalid user authorization"})


async def test_other_names_and_realm() -> None:
    client = gateway(header="X-Key", query="k", realm="gate")
    assert (await client.get("/", {"x-key": "auth-one"})).status == 200
    assert (await client.get("/?k=auth-one")).status == 200
    answer = await client.get("/", {"apikey": "auth-one"})
    assert answer.header("www-authenticate") == 'apikey realm="gate"'


@pytest.mark.parametrize("options", [{"key": "one"}, {"keys": ["zero", "one"]}])
async def test_own_keys_pass_without_a_consumer_and_consumers_still_count(options: Any) -> None:
    app = EchoApp()
    client = gateway(app, **options)
    assert (await client.get("/", {"apikey": "one"})).status == 200
    assert app.header("x-consumer-username") is None
    assert (await client.get("/", {"apikey": "auth-one"})).status == 200
    assert (await client.get("/", {"apikey": "two"})).status == 401


async def test_keys_replace_key() -> None:
    client = gateway(key="one", keys=["two"])
    assert (await client.get("/", {"apikey": "one"})).status == 401


@pytest.mark.parametrize("realm", ["", 'a"b', "a\\b", "é", "x" * 129])
def test_bad_realms(realm: str) -> None:
    with pytest.raises(SchemaError, match="realm"):
        gateway(realm=realm)


def test_secrets_are_marked() -> None:
    assert KeyAuth.encrypted == ("key", "keys")
    with pytest.raises(ValueError, match="key"):
        KeyAuth.ConsumerConf.model_validate({})
