"""Encryption at rest, the walk over secret fields, and references."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from pingsix_asgi.errors import ConfigError, SchemaError, SourceError
from pingsix_asgi.plugin.base import Plugin, PluginConf
from pingsix_asgi.plugin.registry import Registry
from pingsix_asgi.secrets.fields import encrypt, redact, restore
from pingsix_asgi.secrets.keyring import DecryptionError, Keyring
from pingsix_asgi.secrets.references import References
from pingsix_asgi.secrets.vault import Vault


class Secretive(Plugin):
    """A plugin with secrets in a string, a list and a map."""

    name = "secretive"
    priority = 1
    encrypted = ("key", "keys", "auth.header")

    class Conf(PluginConf):
        key: str = ""


REGISTRY = Registry([Secretive])
OLD, NEW = Keyring(["old-key"]), Keyring(["new-key", "old-key"])
ROUTE = {
    "uri": "/x",
    "upstream": {"nodes": {"a:1": 1}, "tls": {"client_cert": "C", "client_key": "K"}},
    "plugins": {
        "secretive": {"key": "k1", "keys": ["a", "$ENV://B"], "auth": {"header": {"x": "y"}}},
        "unknown": {"key": "not ours"},
    },
}


@given(st.text())
@settings(max_examples=50, deadline=None)
def test_what_is_sealed_opens_again_also_after_rotation(text: str) -> None:
    sealed = OLD.encrypt(text)
    assert sealed.startswith("$pingsix-enc:v1$")
    assert OLD.encrypt(sealed) == sealed or text.startswith("$pingsix-enc:")
    if not text.startswith("$pingsix-enc:"):
        assert OLD.decrypt(sealed) == text
        assert NEW.decrypt(sealed) == text


def test_a_retired_key_no_longer_opens() -> None:
    with pytest.raises(DecryptionError, match="no key"):
        Keyring(["new-key"]).decrypt(OLD.encrypt("x"))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("$pingsix-enc:v9$AAAA", "version"),
        ("$pingsix-enc:v1$!!", "base64"),
        ("$pingsix-enc:v1$AAAA", "too short"),
    ],
)
def test_damaged_envelopes_say_what_is_wrong(value: str, why: str) -> None:
    with pytest.raises(DecryptionError, match=why):
        OLD.decrypt(value)


def test_values_written_by_apisix_are_read() -> None:
    key = b"edd1c9f0985e76a2"
    plain = b"s3cret"
    padded = plain + bytes([16 - len(plain)]) * (16 - len(plain))
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key)).encryptor()
    stored = base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()
    assert Keyring([key.decode()]).decrypt(stored) == "s3cret"
    assert Keyring([key.decode()]).decrypt("plain text") == "plain text"


@pytest.mark.parametrize("entries", [[], ["a", ""]])
def test_a_useless_keyring_is_refused(entries: list[str]) -> None:
    with pytest.raises(ConfigError, match="keyring"):
        Keyring(entries)


def test_every_secret_is_sealed_and_nothing_else() -> None:
    sealed = encrypt("routes", ROUTE, REGISTRY, lambda value: f"<{value}>")
    assert sealed["upstream"]["tls"] == {"client_cert": "C", "client_key": "<K>"}
    assert sealed["plugins"]["secretive"] == {
        "key": "<k1>",
        "keys": ["<a>", "$ENV://B"],
        "auth": {"header": {"x": "<y>"}},
    }
    assert sealed["plugins"]["unknown"] == {"key": "not ours"}
    assert ROUTE["plugins"]["secretive"]["key"] == "k1"  # type: ignore[index]


def test_read_edit_write_keeps_secrets_that_were_not_touched() -> None:
    shown = redact("routes", ROUTE, REGISTRY)
    assert "k1" not in json.dumps(shown)
    edited = {**shown, "uri": "/y"}
    assert restore("routes", edited, ROUTE, REGISTRY) == {**ROUTE, "uri": "/y"}


def test_secrets_of_plugins_inside_plugins_are_found_by_the_inner_plugin() -> None:
    either = [{"basic-auth": {"username": "u", "password": "p1"}, "secretive": {"keys": ["k1"]}}]
    actions = [["limit-count", {"count": 1, "redis_password": "p2"}], ["return", {"code": 403}]]
    inner = {"multi-auth": {"auth_plugins": [{"key-auth": {"key": "k2"}}]}}
    confs = {
        "multi-auth": {"auth_plugins": [*either, inner, "odd"]},
        "workflow": {"rules": [{"actions": actions}, {"actions": [["limit-count"], 7]}]},
    }
    route = {"uri": "/x", "plugins": confs}
    text = json.dumps(encrypt("routes", route, REGISTRY, lambda value: f"<{value}>"))
    plain = json.dumps(route)
    for secret in ("p1", "k1", "p2", "k2"):
        plain = plain.replace(f'"{secret}"', f'"<{secret}>"')
    assert text == plain
    shown = redact("routes", route, REGISTRY)
    assert "***" in json.dumps(shown)
    assert restore("routes", shown, route, REGISTRY) == route


class FakeManager:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def fetch(self, path: str) -> str:
        self.asked.append(path)
        if path == "bad/key":
            raise SourceError("no")
        return f"value of {path}"


class FakeClock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


async def test_references_are_resolved_cached_and_left_as_text_when_missing() -> None:
    clock, manager = FakeClock(), FakeManager()
    references = References({"A": "one", "J": '{"k":"two"}'}, clock)
    managers: Any = {"vault/1": manager}
    document = {
        "a": "$env://A",
        "b": ["$ENV://J/k", "$env://J/none", "$env://NONE", "plain"],
        "c": {"d": "$secret://vault/1/jack/key", "e": "$secret://vault/1/bad/key"},
        "f": "$secret://vault/9/x/y",
    }
    expected = {
        "a": "one",
        "b": ["two", "$env://J/none", "$env://NONE", "plain"],
        "c": {"d": "value of jack/key", "e": "$secret://vault/1/bad/key"},
        "f": "$secret://vault/9/x/y",
    }
    assert await references.resolve(document, managers) == expected
    assert await references.resolve(document, managers) == expected
    assert manager.asked == ["jack/key", "bad/key"]
    clock.now = 61
    await references.resolve(document, managers)
    assert manager.asked == ["jack/key", "bad/key", "bad/key"]
    clock.now = 301
    await references.resolve(document, managers)
    assert manager.asked.count("jack/key") == 2


async def test_a_document_without_references_is_returned_itself() -> None:
    document = {"a": ["$not a reference", 1]}
    assert await References({}).resolve(document, {}) is document


async def test_whatever_a_manager_raises_costs_only_its_own_secret() -> None:
    class Broken(FakeManager):
        async def fetch(self, path: str) -> str:
            raise RuntimeError("a bug")

    managers: Any = {"vault/1": Broken(), "vault/2": FakeManager()}
    document = {"a": "$secret://vault/1/x/y", "b": "$secret://vault/2/x/y"}
    found = await References({}, FakeClock()).resolve(document, managers)
    assert found == {"a": "$secret://vault/1/x/y", "b": "value of x/y"}


@pytest.mark.parametrize(
    ("uri", "token", "path"),
    [
        ("http://127.0.0.1:99999", "t", "jack/key"),
        ("http://[::1", "t", "jack/key"),
        ("http://127.0.0.1:9", "t\N{SNOWMAN}", "jack/key"),
        ("http://127.0.0.1:9", "t", "ja\x00ck/key"),
    ],
)
async def test_a_vault_that_cannot_be_asked_is_a_source_error(
    uri: str, token: str, path: str
) -> None:
    with pytest.raises(SourceError, match="vault"):
        await Vault(uri=uri, prefix="kv", token=token).fetch(path)


def test_secrets_in_a_list_of_another_length_are_not_guessed() -> None:
    def keys(*values: str) -> Any:
        return {"plugins": {"secretive": {"keys": list(values)}}}

    stored = keys("a", "b", "c")
    assert restore("routes", keys("***", "new", "***"), stored, REGISTRY) == keys("a", "new", "c")
    assert restore("routes", keys("x"), stored, REGISTRY) == keys("x")
    for sent in (keys("***", "***"), keys("***", "***", "***", "d")):
        with pytest.raises(SchemaError, match="send the values") as raised:
            restore("routes", sent, stored, REGISTRY)
        assert raised.value.path == "plugins.secretive.keys.0"


def test_the_client_key_of_a_share_of_the_traffic_is_secret() -> None:
    def split(key: str) -> Any:
        share = {"upstream": {"tls": {"client_cert": "C", "client_key": key}}}
        return {"plugins": {"traffic-split": {"rules": [{"weighted_upstreams": [share]}]}}}

    assert redact("routes", split("K"), Registry()) == split("***")
    assert restore("routes", split("***"), split("K"), Registry()) == split("K")
