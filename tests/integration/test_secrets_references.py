"""Secrets kept in Vault or the environment, all the way to requests that need them."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from pingsix_asgi import PingSIX
from pingsix_asgi.secrets import references as references_file
from pingsix_asgi.secrets.references import FOUND_S, MISSING_S, References, Unreachable
from pingsix_asgi.secrets.vault import Vault
from pingsix_asgi.serving import running as running_file
from pingsix_asgi.snapshot.publish import Publisher
from pingsix_asgi.testing import Client, EchoApp, FakeClock
from support.gateway import Gateway
from support.pki import PKI
from support.processes import free_port
from support.vault_server import TOKEN, VaultServer

ENVIRON = {"VAULT_TOKEN": TOKEN, "KEYS": '{"jack": "from-json"}'}
ROUTE = {"uri": "/*", "plugins": {"key-auth": {}}}


@pytest.fixture
def vault() -> Iterator[VaultServer]:
    with VaultServer.running() as server:
        server.kv["apisix/jack"] = {"key": "from-v1", "number": 7}
        server.secret["apisix/jill"] = {"key": "from-v2"}
        yield server


def managers(vault: VaultServer, token: str = "$ENV://VAULT_TOKEN") -> dict[str, Any]:
    return {
        "vault/1": {"uri": vault.url, "prefix": "kv/apisix", "token": token},
        "vault/2": {"uri": vault.url, "prefix": "secret/data/apisix", "token": token},
    }


def consumers(**keys: str) -> dict[str, Any]:
    return {
        name: {"username": name, "plugins": {"key-auth": {"key": key}}}
        for name, key in keys.items()
    }


class Resolving(Gateway):
    """A gateway whose secrets live elsewhere, with a clock of its own."""

    def __init__(self) -> None:
        super().__init__(app=EchoApp())
        self.clock = FakeClock()
        self.publisher = Publisher(self.builder, References(ENVIRON, self.clock))

    async def status(self, key: str) -> int:
        return (await self.client.get("/", {"apikey": key})).status

    async def use(self, vault: VaultServer, **keys: str) -> list[str]:
        errors = await self.publish(
            routes={"1": ROUTE}, secrets=managers(vault), consumers=consumers(**keys)
        )
        return [str(error) for error in errors]


@pytest.fixture
async def gateway() -> AsyncIterator[Resolving]:
    gateway = Resolving()
    yield gateway
    await gateway.runtime.aclose()


async def test_every_form_of_reference_is_a_key(gateway: Resolving, vault: VaultServer) -> None:
    found = await gateway.use(
        vault,
        jack="$secret://vault/1/jack/key",
        jill="$secret://vault/2/jill/key",
        env="$env://VAULT_TOKEN",
        json="$ENV://KEYS/jack",
    )
    assert found == []
    for key in ("from-v1", "from-v2", TOKEN, "from-json"):
        assert await gateway.status(key) == 200, key
    assert await gateway.status("$secret://vault/1/jack/key") == 401
    assert sorted(vault.asked) == ["/v1/kv/apisix/jack", "/v1/secret/data/apisix/jill"]


@pytest.mark.parametrize(
    "reference",
    [
        "$secret://vault/1/nobody/key",
        "$secret://vault/1/jack/other",
        "$secret://vault/1/jack/number",
        "$secret://vault/1/jack",
        "$secret://vault/9/jack/key",
        "$env://NOT_SET",
        "$env://KEYS/nobody",
    ],
)
async def test_what_cannot_be_resolved_lets_nobody_in(
    gateway: Resolving, vault: VaultServer, reference: str, caplog: pytest.LogCaptureFixture
) -> None:
    (error,) = await gateway.use(vault, jack=reference)
    assert error.startswith("consumers/jack: plugins.key-auth: disabled")
    assert await gateway.status(reference) == 401
    assert reference in caplog.text
    assert TOKEN not in caplog.text


async def test_a_wrong_token_is_reported_and_the_namespace_sent(vault: VaultServer) -> None:
    right = Vault(uri=vault.url, prefix="kv/apisix", token=TOKEN, namespace="team")
    assert await right.fetch("jack/key") == "from-v1"
    assert vault.namespaces == ["team"]
    wrong = Vault(uri=vault.url, prefix="kv/apisix", token="wrong")
    with pytest.raises(Exception, match="403"):
        await wrong.fetch("jack/key")


async def test_a_changed_secret_goes_live_when_its_time_has_come(
    gateway: Resolving, vault: VaultServer
) -> None:
    await gateway.use(vault, jack="$secret://vault/1/jack/key")
    vault.kv["apisix/jack"] = {"key": "rotated"}
    gateway.clock.advance(FOUND_S - 1)
    assert await gateway.publisher.refresh() is None
    assert (len(vault.asked), await gateway.status("from-v1")) == (1, 200)
    gateway.clock.advance(2)
    revision = gateway.snapshot.revision
    assert await gateway.publisher.refresh() == (revision, [])
    assert (await gateway.status("rotated"), await gateway.status("from-v1")) == (200, 401)
    gateway.clock.advance(FOUND_S + 1)
    published = gateway.runtime.published
    assert await gateway.publisher.refresh() is None
    assert (len(vault.asked), gateway.runtime.published) == (3, published)


async def test_the_last_value_is_kept_while_the_manager_is_away(gateway: Resolving) -> None:
    port = free_port()
    with VaultServer.running(port) as vault:
        vault.kv["apisix/jack"] = {"key": "first"}
        await gateway.use(vault, jack="$secret://vault/1/jack/key")
    gateway.clock.advance(FOUND_S + 1)
    assert await gateway.publisher.refresh() is None
    assert await gateway.status("first") == 200
    with VaultServer.running(port) as vault:
        vault.kv["apisix/jack"] = {"key": "second"}
        assert await gateway.publisher.refresh() is None, "not asked again so soon"
        gateway.clock.advance(MISSING_S + 1)
        assert await gateway.publisher.refresh() is not None
        assert await gateway.status("second") == 200


async def test_a_manager_that_does_not_answer_is_asked_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Away:
        asked = 0

        async def fetch(self, path: str) -> str:
            self.asked += 1
            await asyncio.sleep(0)
            raise Unreachable("no route")

    away, clock = Away(), FakeClock()
    references = References({}, clock)
    document = [f"$secret://vault/1/name{number}/key" for number in range(100)]
    assert await references.resolve(document, {"vault/1": away}) == document
    assert away.asked <= 16


async def test_a_certificate_may_be_kept_elsewhere(gateway: Resolving, vault: VaultServer) -> None:
    cert, key = PKI().issue("a.example.com")
    vault.kv["apisix/tls"] = {"cert": cert, "key": key}
    ssl = {
        "snis": ["a.example.com"],
        "cert": "$secret://vault/1/tls/cert",
        "key": "$secret://vault/1/tls/key",
    }
    secrets = managers(vault)
    assert await gateway.publish(ssls={"1": ssl}, secrets=secrets) == []
    assert gateway.snapshot.ssls["1"].key == key
    (error,) = await gateway.publish(
        ssls={"1": ssl, "2": {**ssl, "key": "$secret://vault/1/tls/no"}}, secrets=secrets
    )
    assert str(error) == "ssls/2: disabled: a secret it refers to cannot be resolved"
    assert set(gateway.snapshot.ssls) == {"1"}


async def test_a_running_gateway_asks_by_itself(
    vault: VaultServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(running_file, "REFRESH_S", 0.01)
    monkeypatch.setattr(references_file, "FOUND_S", 0.05)
    caplog.set_level(logging.INFO)
    config = {
        "routes": [{"id": "1", **ROUTE}],
        "consumers": list(consumers(jack="$secret://vault/1/jack/key").values()),
        "secrets": [{"id": id, **value} for id, value in managers(vault, TOKEN).items()],
    }
    gateway = PingSIX(EchoApp(), config)
    client = Client(gateway)
    await gateway.startup()
    try:
        assert (await client.get("/", {"apikey": "from-v1"})).status == 200
        vault.kv["apisix/jack"] = {"key": "rotated"}
        async with asyncio.timeout(10):
            while (await client.get("/", {"apikey": "rotated"})).status != 200:
                await asyncio.sleep(0.01)
        assert (await client.get("/", {"apikey": "from-v1"})).status == 401
    finally:
        await gateway.shutdown()


async def test_a_manager_that_is_away_does_not_keep_a_gateway_from_starting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    secret = {"id": "vault/1", "uri": f"http://127.0.0.1:{port}", "prefix": "kv", "token": TOKEN}
    config = {
        "routes": [{"id": "1", **ROUTE}, {"id": "2", "uri": "/open", "plugins": {}}],
        "consumers": list(consumers(jack="$secret://vault/1/jack/key").values()),
        "secrets": [secret],
    }
    assert await PingSIX(EchoApp(), config).check() == []
    gateway = PingSIX(EchoApp(), config)
    await gateway.startup()
    try:
        assert (await Client(gateway).get("/open")).status == 200
        (error,) = gateway.runtime.snapshot.errors
        assert str(error).startswith("consumers/jack: ")
    finally:
        await gateway.shutdown()


SECRET = "$secret://vault/1/app/key"
KEY_AUTH = {"key-auth": {"key": SECRET}}
WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "key": (KEY_AUTH, "key-auth.key"),
    "keys": ({"key-auth": {"keys": ["other", SECRET]}}, "key-auth.keys.1"),
    "password": ({"basic-auth": {"username": "u", "password": SECRET}}, "basic-auth.password"),
    "token": ({"jwt-auth": {"secret": SECRET}}, "jwt-auth.secret"),
    "public key": (
        {"jwt-auth": {"algorithm": "RS256", "public_key": SECRET}},
        "jwt-auth.public_key",
    ),
    "csrf": ({"csrf": {"key": SECRET}}, "csrf.key"),
    "nested": (
        {"multi-auth": {"auth_plugins": [{"basic-auth": {}}, KEY_AUTH]}},
        "multi-auth.auth_plugins.1.key-auth.key",
    ),
    "action": (
        {
            "workflow": {
                "rules": [
                    {
                        "actions": [
                            [
                                "limit-conn",
                                {
                                    "conn": 1,
                                    "burst": 0,
                                    "default_conn_delay": 1,
                                    "key": "uri",
                                    "policy": "redis",
                                    "redis_host": "127.0.0.1",
                                    "redis_password": SECRET,
                                },
                            ],
                        ]
                    }
                ]
            }
        },
        "workflow.rules.0.actions.0.1.redis_password",
    ),
}
SENT = {
    "apikey": SECRET,
    "authorization": "Basic " + base64.b64encode(f"u:{SECRET}".encode()).decode(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["routes", "services", "plugin_configs", "global_rules"])
async def test_a_plugin_that_lacks_its_secret_lets_nobody_pass(
    gateway: Resolving, vault: VaultServer, way: str, place: str
) -> None:
    plugins, path = WAYS[way]
    resources: dict[str, Any] = {"secrets": managers(vault), place: {"1": {"plugins": plugins}}}
    route = {"uri": "/*", **({"service_id": "1"} if place == "services" else {})}
    if place == "plugin_configs":
        route["plugin_config_id"] = "1"
    resources["routes"] = {"1": {**route, "plugins": plugins if place == "routes" else {}}}
    for number in range(2):
        errors = await gateway.publish(**resources)
        assert [(error.kind, error.id, error.path) for error in errors] == [
            (place, "1", f"plugins.{path}")
        ]
        for method in ("GET", "POST"):
            assert (await gateway.client.request(method, "/", headers=SENT)).status == 503
        resources["upstreams"] = {str(number): {"nodes": {"127.0.0.1:1": 1}}}
    assert await gateway.publish(partial=False, **resources) == [], "nothing is rejected for it"


async def test_it_works_as_soon_as_the_secret_is_there_and_keeps_it(
    gateway: Resolving, vault: VaultServer
) -> None:
    await gateway.publish(routes={"1": {"uri": "/*", "plugins": KEY_AUTH}}, secrets=managers(vault))
    assert await gateway.status(SECRET) == 503
    vault.kv["apisix/app"] = {"key": "there"}
    gateway.clock.advance(MISSING_S + 1)
    assert await gateway.publisher.refresh() == (gateway.snapshot.revision, [])
    assert (await gateway.status("there"), await gateway.status(SECRET)) == (200, 401)


async def test_a_consumers_plugin_that_lacks_its_secret_refuses_that_consumer(
    gateway: Resolving, vault: VaultServer
) -> None:
    people = consumers(jack="jack", jill="jill")
    people["jack"]["plugins"]["csrf"] = {"key": SECRET}
    for of_route in ({}, {"csrf": {"key": "known"}}):
        route = {"uri": "/*", "plugins": {"key-auth": {}, **of_route}}
        (error,) = await gateway.publish(routes={"1": route}, consumers=people)
        assert (error.id, error.path) == ("jack", "plugins.csrf.key")
        assert (await gateway.status("jack"), await gateway.status("jill")) == (503, 200)


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        ({"_meta": {"disable": True}}, 200),
        ({"_meta": {"filter": [["arg_x", "==", "y"]]}}, 200),
        ({"_meta": {"fail": "open"}}, 503),
    ],
    ids=["disabled", "not for this request", "fail open"],
)
async def test_meta_holds_for_a_plugin_that_lacks_its_secret(
    gateway: Resolving, extra: dict[str, Any], status: int
) -> None:
    route = {"uri": "/*", "plugins": {"key-auth": {"key": SECRET, **extra}}}
    await gateway.publish(routes={"1": route})
    assert await gateway.status(SECRET) == status


async def test_check_warns_of_variables_that_are_not_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("IS_SET", "value")
    keys = {"1": "$env://NOT_SET", "2": "$env://IS_SET", "3": SECRET}
    routes = [
        {"id": id, "uri": f"/{id}", "plugins": {"key-auth": {"key": key}}}
        for id, key in keys.items()
    ]
    assert await PingSIX(EchoApp(), {"routes": routes}).check() == []
    assert caplog.messages == [
        "cannot resolve $env://NOT_SET: no such variable or member",
        "routes/1: plugins.key-auth.key: disabled: a secret it refers to cannot be resolved",
    ]


async def test_a_logger_goes_on_without_its_secret(gateway: Resolving) -> None:
    conf = {"uri": "http://127.0.0.1:9", "auth_header": SECRET}
    (error,) = await gateway.publish(routes={"1": {"uri": "/*", "plugins": {"http-logger": conf}}})
    assert error.path == "plugins.http-logger.auth_header"
    assert await gateway.status("") == 200
