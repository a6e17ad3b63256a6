"""Secrets encrypted in the store: written, shown, rotated, opened for the data plane."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pingsix_asgi import PingSIX
from pingsix_asgi.config.store import Put
from pingsix_asgi.errors import InvalidConfig
from pingsix_asgi.secrets.fields import ENVELOPE
from pingsix_asgi.secrets.keyring import Keyring
from pingsix_asgi.snapshot.publish import Publisher
from pingsix_asgi.testing import EchoApp
from support.admin_client import admin_over
from support.gateway import Gateway
from support.pki import PKI

OLD, NEW = "an-old-key", "edd1c9f0985e76a2"
JACK = {"username": "jack", "plugins": {"key-auth": {"key": "jacks-key"}}}
ROUTE = {"uri": "/*", "plugins": {"key-auth": {}}}


def sealed_by_apisix(text: str, key: bytes = NEW.encode()) -> str:
    padded = text.encode()
    padded += bytes([16 - len(padded) % 16]) * (16 - len(padded) % 16)
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key)).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def consumer(key: str) -> dict[str, Any]:
    return {"username": "jack", "plugins": {"key-auth": {"key": key}}}


def opening(*keys: str) -> Gateway:
    """Return a gateway that opens what these keys sealed; none: encryption is off."""
    gateway = Gateway(app=EchoApp())
    gateway.publisher = Publisher(gateway.builder, keyring=Keyring(keys) if keys else None)
    return gateway


async def status(gateway: Gateway, key: str) -> int:
    return (await gateway.client.get("/", {"apikey": key})).status


async def test_the_data_plane_opens_what_the_admin_api_sealed(tmp_path: Path) -> None:
    async with admin_over(tmp_path, keyring=Keyring([OLD])) as admin:
        assert (await admin("PUT", "/consumers", JACK))[0] == 201
        item = await admin.store.get("/apisix/consumers/jack")
    assert item is not None
    document = json.loads(item.value)
    assert document["plugins"]["key-auth"]["key"].startswith(ENVELOPE)
    gateway = opening(OLD)
    assert await gateway.publish(routes={"1": ROUTE}, consumers={"jack": document}) == []
    assert await status(gateway, "jacks-key") == 200
    assert await status(gateway, document["plugins"]["key-auth"]["key"]) == 401


async def test_secrets_of_plugins_inside_plugins_are_sealed_and_opened(tmp_path: Path) -> None:
    either = [{"key-auth": {"key": "the-key"}}, {"basic-auth": {"username": "u", "password": "p"}}]
    plugins: Any = {"multi-auth": {"auth_plugins": either}}
    async with admin_over(tmp_path, keyring=Keyring([OLD])) as admin:
        for wanted in (201, 200):
            document = {"uri": "/*", "plugins": plugins}
            assert (await admin("PUT", "/routes/1", document))[0] == wanted
            item = await admin.store.get("/apisix/routes/1")
            assert item is not None
            assert b"the-key" not in item.value
            _, shown = await admin("GET", "/routes/1")
            assert "the-key" not in json.dumps(shown)
            plugins = shown["value"]["plugins"]
    gateway = opening(OLD)
    assert await gateway.publish(routes={"1": json.loads(item.value)}) == []
    assert (await status(gateway, "the-key"), await status(gateway, "***")) == (200, 401)


async def test_a_key_is_rotated_by_writing_each_resource_once_more(tmp_path: Path) -> None:
    async with admin_over(tmp_path, keyring=Keyring([OLD])) as admin:
        await admin("PUT", "/consumers", JACK)
    async with admin_over(tmp_path, keyring=Keyring([NEW, OLD])) as admin:
        before = await admin.store.get("/apisix/consumers/jack")
        _, shown = await admin("GET", "/consumers/jack")
        document = {"username": "jack", "plugins": shown["value"]["plugins"]}
        assert document["plugins"]["key-auth"]["key"] == "***"
        assert (await admin("PUT", "/consumers", document))[0] == 200
        after = await admin.store.get("/apisix/consumers/jack")
    assert before is not None
    assert after is not None
    values = [json.loads(item.value)["plugins"]["key-auth"]["key"] for item in (before, after)]
    assert [Keyring([OLD]).decrypt(values[0]), Keyring([NEW]).decrypt(values[1])] == [
        "jacks-key",
        "jacks-key",
    ]


async def test_what_apisix_sealed_is_opened_in_secret_fields_only() -> None:
    text = sealed_by_apisix("jacks-key")
    gateway = opening(NEW)
    errors = await gateway.publish(
        routes={"1": {**ROUTE, "desc": text}}, consumers={"jack": consumer(text)}
    )
    assert errors == []
    assert await status(gateway, "jacks-key") == 200
    assert gateway.builder.runtime.snapshot.state is not None
    assert gateway.builder.runtime.snapshot.state.documents["routes"]["1"]["desc"] == text


async def test_our_envelopes_are_opened_wherever_they_are() -> None:
    seal = Keyring([OLD]).encrypt
    abort = {"http_status": 200, "body": seal("hidden")}
    route = {"uri": "/*", "plugins": {"fault-injection": {"abort": abort}}}
    gateway = opening(NEW, OLD)
    assert await gateway.publish(routes={"1": route}) == []
    assert (await gateway.client.get("/")).text == "hidden"


@pytest.mark.parametrize(
    ("keys", "value", "why"),
    [
        ([OLD], Keyring([NEW]).encrypt("x"), "no key of data_encryption.keyring"),
        ([OLD], "$pingsix-enc:v1$AAAA", "too short"),
        ([OLD], "$pingsix-enc:v7$AAAABBBBCCCC", "unknown encryption version"),
        ([], Keyring([NEW]).encrypt("x"), "data_encryption is off"),
    ],
    ids=["other key", "too short", "other version", "encryption off"],
)
async def test_a_value_that_does_not_open_is_reported_and_the_version_before_stays(
    keys: list[str], value: str, why: str
) -> None:
    gateway = opening(*keys)
    good: dict[str, Any] = {"routes": {"1": ROUTE}, "consumers": {"jack": JACK}}
    bad = {**good, "consumers": {"jack": consumer(value), "jill": consumer(value)}}
    assert await gateway.publish(**good) == []
    for _ in range(2):
        errors = await gateway.publish(**bad)
        assert [(error.kind, error.id, error.path) for error in errors] == [
            ("consumers", "jack", "plugins.key-auth.key"),
            ("consumers", "jill", "plugins.key-auth.key"),
        ]
        assert why in errors[0].message
        assert value not in str(errors[0])
        assert await status(gateway, "jacks-key") == 200
        bad = {**bad, "routes": {"1": {**ROUTE, "desc": "another"}}}
    assert await gateway.publish(partial=False, **bad) != []
    healed = {**bad, "consumers": {"jack": consumer("healed")}}
    assert await gateway.publish(**healed) == []
    assert (await status(gateway, "healed"), await status(gateway, "jacks-key")) == (200, 401)


async def test_unchanged_documents_stay_the_same_objects() -> None:
    gateway = opening(OLD)
    consumers = {"jack": consumer(Keyring([OLD]).encrypt("k")), "jill": {"username": "jill"}}
    await gateway.publish(routes={"1": ROUTE}, consumers=consumers)
    await gateway.publish(routes={"1": ROUTE, "2": ROUTE}, consumers=dict(consumers))
    assert gateway.snapshot.changed == ("routes/2",)


async def test_a_gateway_starts_from_sealed_values_in_a_file(tmp_path: Path) -> None:
    config = {
        "pingsix": {"data_encryption": {"enable": True, "keyring": [OLD]}},
        "routes": [{"id": "1", **ROUTE}],
        "consumers": [consumer(Keyring([OLD]).encrypt("k"))],
    }
    assert await PingSIX(EchoApp(), config).check() == []
    del config["pingsix"]
    (error,) = await PingSIX(EchoApp(), config).check()
    assert "data_encryption is off" in str(error)
    with pytest.raises(InvalidConfig, match="data_encryption is off"):
        await PingSIX(EchoApp(), config).startup()


async def test_keys_of_certificates_are_never_shown(tmp_path: Path) -> None:
    pki = PKI()
    document = {**pki.ssl("a.example.com")}
    cert, key = pki.issue("a.example.com")
    document |= {"certs": [cert], "keys": [key]}
    for keyring, shown in ((None, {}), (Keyring([OLD]), {"key": "***", "keys": ["***"]})):
        async with admin_over(tmp_path, keyring=keyring) as admin:
            assert (await admin("PUT", "/ssls/1", document))[0] in (200, 201)
            for path in ("/ssls/1", "/ssls"):
                assert "PRIVATE" not in json.dumps(await admin("GET", path))
            value = await admin.value("/ssls/1")
            assert {name: value[name] for name in value if name in ("key", "keys")} == shown
            assert (await admin("PUT", "/ssls/1", {**value, "desc": "edited"}))[0] == 200
            assert (await admin("PATCH", "/ssls/1", {"status": 0}))[0] == 200
            stored = await admin.store.get("/apisix/ssls/1")
            assert stored is not None
            found = json.loads(stored.value)
            opened = [found["key"], *found["keys"]]
            if keyring is not None:
                opened = [keyring.decrypt(value) for value in opened]
            assert opened == [document["key"], key]


async def test_left_out_keys_do_not_come_back_for_another_certificate(tmp_path: Path) -> None:
    pki = PKI()
    async with admin_over(tmp_path) as admin:
        await admin("PUT", "/ssls/1", pki.ssl("a.example.com"))
        other = pki.ssl("a.example.com")
        del other["key"]
        status, text = await admin.refused("PUT", "/ssls/1", other)
        assert (status, text) == (400, "invalid configuration: then clause did not match")


async def test_a_damaged_value_does_not_stop_the_admin_api(tmp_path: Path) -> None:
    async with admin_over(tmp_path, keyring=Keyring([OLD])) as admin:
        value = json.dumps(consumer("$pingsix-enc:v1$AAAA")).encode()
        await admin.store.commit([Put("/apisix/consumers/jack", value)])
        assert (await admin("GET", "/consumers/jack"))[0] == 200
        assert (await admin("PUT", "/consumers", JACK))[0] == 200


async def test_stars_that_stand_for_no_secret_are_never_stored(tmp_path: Path) -> None:
    def keys(*values: str) -> Any:
        return {"uri": "/", "plugins": {"key-auth": {"keys": list(values)}}}

    stars = {"uri": "/", "plugins": {"stamp": {"count": 1, "secret": "***"}}}
    plain = {"uri": "/", "plugins": {"stamp": {"count": 1}}}
    async with admin_over(tmp_path, keyring=Keyring([NEW])) as admin:
        assert (await admin("PUT", "/routes/1", plain))[0] == 201
        for method, path in (
            ("PUT", "/routes/1"),
            ("PATCH", "/routes/1"),
            ("PUT", "/routes/2"),
            ("POST", "/routes"),
        ):
            status, text = await admin.refused(method, path, stars)
            assert (status, "send the values" in text) == (400, True)
        assert (await admin("PUT", "/routes/4", keys("a", "b", "c")))[0] == 201
        status, text = await admin.refused("PUT", "/routes/4", keys("***", "***"))
        assert (status, "plugins.key-auth.keys.0" in text) == (400, True)
        assert (await admin("PUT", "/routes/4", keys("***", "***", "***")))[0] == 200
    async with admin_over(tmp_path) as admin:
        assert (await admin("PUT", "/routes/3", stars))[0] == 201
