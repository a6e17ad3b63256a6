"""Settings: defaults, the environment, and what is refused in which words."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.errors import InvalidConfig
from pingsix_asgi.model.setting_sections import Etcd
from pingsix_asgi.settings import Settings, load_settings
from pingsix_asgi.types import JSON

KEYED = {"api_key": "secret"}


def problems(pingsix: JSON, pingora: JSON = None) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as raised:
        load_settings(pingsix, pingora)
    return {error.path: error.message for error in raised.value.errors}


def test_defaults() -> None:
    settings = load_settings()
    assert [listener.address for listener in settings.listeners] == ["0.0.0.0:9080"]
    assert settings.etcd is settings.admin is settings.status is settings.prometheus is None
    assert (settings.worker_count, settings.grace_period_s, settings.drain_delay) == (1, 300, 0)
    assert settings.enable_server_tokens
    assert not settings.defaults.upstream_tls_verify


def test_sections_without_address_take_the_usual_one() -> None:
    settings = load_settings({"admin": KEYED, "status": {}, "prometheus": {}})
    assert settings.admin is not None
    assert settings.status is not None
    assert settings.prometheus is not None
    assert settings.admin.address == "127.0.0.1:9180"
    assert settings.status.address == "127.0.0.1:7085"
    assert settings.prometheus.address == "127.0.0.1:9091"


def test_keys_of_both_forms_count() -> None:
    admin = {**KEYED, "admin_key": [{"name": "v", "key": "k", "role": "viewer"}]}
    settings = load_settings({"admin": admin})
    assert settings.admin is not None
    assert [(key.key, key.role) for key in settings.admin.keys] == [
        ("secret", "admin"),
        ("k", "viewer"),
    ]


def test_secrets_are_not_in_the_text_of_settings() -> None:
    settings = load_settings(
        {"admin": KEYED, "data_encryption": {"enable": True, "keyring": ["hush"]}}
    )
    assert "secret" not in repr(settings)
    assert "hush" not in repr(settings)


def test_pingora_gives_what_pingsix_leaves_open() -> None:
    pingora = {"threads": 3, "grace_period_seconds": 7, "no_such_key": [1]}
    assert load_settings({}, pingora).worker_count == 3
    assert load_settings({}, pingora).grace_period_s == 7
    settings = load_settings({"workers": 1, "grace_period": 0}, pingora)
    assert (settings.worker_count, settings.grace_period_s) == (1, 0)


ENVIRONMENT: dict[str, tuple[dict[str, str], str, Any]] = {
    "list by commas": (
        {"PINGSIX_ETCD__HOST": "http://a:1, b:2"},
        "etcd.host",
        ("http://a:1", "b:2"),
    ),
    "list as JSON": ({"PINGSIX_ETCD__HOST": '["http://a:1"]'}, "etcd.host", ("http://a:1",)),
    "nested": (
        {"PINGSIX_ETCD__HOST": "a:1", "PINGSIX_ETCD__PREFIX": "/p"},
        "etcd.prefix",
        "/p",
    ),
    "section as JSON": ({"PINGSIX_STATUS": '{"config_stale_after": 1}'}, "status.address", None),
    "name inside a section as JSON": (
        {
            "PINGSIX_DEFAULTS__UPSTREAM_TIMEOUT__READ": "7",
            "PINGSIX_DEFAULTS": '{"upstream_timeout": {"connect": 1, "send": 2, "read": 3}}',
        },
        "defaults.upstream_timeout.read",
        7,
    ),
    "inner section as JSON": (
        {
            "PINGSIX_DEFAULTS__UPSTREAM_TIMEOUT__SEND": "8",
            "PINGSIX_DEFAULTS__UPSTREAM_TIMEOUT": '{"connect": 1, "send": 2, "read": 3}',
        },
        "defaults.upstream_timeout.send",
        8,
    ),
    "list of sections as JSON": (
        {"PINGSIX_ADMIN__ADMIN_KEY": '[{"name": "n", "key": "k"}]', "PINGSIX_ADMIN__API_KEY": "x"},
        "admin.enable_admin_cors",
        True,
    ),
    "number": ({"PINGSIX_WORKERS": "4"}, "workers", 4),
    "boolean": ({"PINGSIX_ENABLE_SERVER_TOKENS": "false"}, "enable_server_tokens", False),
    "bare listener": ({"PINGSIX_LISTENERS": "127.0.0.1:1"}, "listeners", None),
    "deep": ({"PINGSIX_DEFAULTS__DNS_REFRESH_INTERVAL": "9"}, "defaults.dns_refresh_interval", 9),
    "store": ({"PINGSIX_STORE": "sqlite:///x.db"}, "store", "sqlite:///x.db"),
    "pingora": ({"PINGSIX_PINGORA__CA_FILE": "/x"}, "pingora.ca_file", "/x"),
    "what Kubernetes adds": ({"PINGSIX_SERVICE_HOST": "1", "PINGSIX_PORT": "x"}, "workers", None),
}


@pytest.mark.parametrize(
    ("environ", "path", "expected"), ENVIRONMENT.values(), ids=list(ENVIRONMENT)
)
def test_environment(
    environ: dict[str, str], path: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found: Any = load_settings()
    for part in path.split("."):
        found = getattr(found, part)
    if path == "listeners":
        assert [listener.address for listener in found] == ["127.0.0.1:1"]
    elif path == "status.address":
        assert found == "127.0.0.1:7085"
    else:
        assert found == expected


def test_the_environment_wins_over_the_file_field_by_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PINGSIX_ETCD__PREFIX", "/env")
    settings = load_settings({"etcd": {"host": ["a:1"], "prefix": "/file", "timeout": 9}})
    assert settings.etcd is not None
    assert (settings.etcd.host, settings.etcd.prefix, settings.etcd.timeout) == (
        ("a:1",),
        "/env",
        9,
    )


def test_a_section_as_json_leaves_what_it_does_not_name_to_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PINGSIX_ETCD", '{"prefix": "/env"}')
    settings = load_settings({"etcd": {"host": ["a:1"], "prefix": "/file"}})
    assert settings.etcd is not None
    assert (settings.etcd.host, settings.etcd.prefix) == (("a:1",), "/env")


REFUSED: dict[str, tuple[JSON, str, str]] = {
    "unknown key": ({"nope": 1}, "nope", "additional properties forbidden, found nope"),
    "unknown nested key": ({"status": {"x": 1}}, "status.x", "additional properties forbidden"),
    "pingora inside": ({"pingora": {}}, "pingora", "additional properties forbidden"),
    "no listener": ({"listeners": []}, "listeners", "at least 1 items"),
    "host name": ({"listeners": [{"address": "localhost:1"}]}, "listeners.0.address", "host names"),
    "no port": ({"status": {"address": "127.0.0.1"}}, "status.address", "expected ip:port"),
    "big port": ({"status": {"address": "127.0.0.1:65536"}}, "status.address", "expected ip:port"),
    "h2 without tls": (
        {"listeners": [{"address": "127.0.0.1:1", "offer_h2": True}]},
        "listeners.0",
        "tls_required_for_h2",
    ),
    "half a pair": (
        {"listeners": [{"tls": {"cert_path": "x"}}]},
        "listeners.0.tls",
        "tls_cert_and_key_required_together",
    ),
    "etcd without host": ({"etcd": {"host": []}}, "etcd.host", "at least 1 items"),
    "etcd user alone": (
        {"etcd": {"host": ["a:1"], "user": "u"}},
        "etcd",
        "etcd_user_and_password_required_together",
    ),
    "etcd scheme": ({"etcd": {"host": ["https://a:1"]}}, "etcd", "expected http by tls"),
    "etcd path": ({"etcd": {"host": ["http://a:1/x"]}}, "etcd", "invalid_etcd_endpoint"),
    "etcd user info": ({"etcd": {"host": ["http://u@a:1"]}}, "etcd", "invalid_etcd_endpoint"),
    "half an etcd certificate": (
        {"etcd": {"host": ["a:1"], "tls": {"ca_cert": "x", "client_key": "y"}}},
        "etcd.tls",
        "mtls_cert_and_key_required_together",
    ),
    "admin without key": ({"admin": {}}, "admin", "api_key_required"),
    "blank admin key": ({"admin": {"api_key": " "}}, "admin.api_key", "failed to match"),
    "admin for no address": (
        {"admin": {**KEYED, "allow_admin": ["nonsense"]}},
        "admin.allow_admin",
        "expected an IP address or a CIDR block",
    ),
    "admin open to all": (
        {"admin": {**KEYED, "address": "0.0.0.0:1"}},
        "admin",
        "is not a loopback address",
    ),
    "incomplete timeout": (
        {"defaults": {"upstream_timeout": {"connect": 1, "send": 1}}},
        "defaults.upstream_timeout.read",
        'property "read" is required',
    ),
    "long deadline": (
        {"defaults": {"dns_resolution_timeout": 61}},
        "defaults.dns_resolution_timeout",
        "expected 61 to be at most 60",
    ),
    "encryption without keys": (
        {"data_encryption": {"enable": True}},
        "data_encryption",
        "data_encryption_keyring_required",
    ),
    "encryption with an empty key": (
        {"data_encryption": {"enable": True, "keyring": [""]}},
        "data_encryption",
        "data_encryption_keyring_entry_empty",
    ),
    "log without path": ({"log": {}}, "log.path", 'property "path" is required'),
    "unknown store": ({"store": "redis://x"}, "store", "failed to match pattern"),
    "two stores": ({"etcd": {"host": ["a:1"]}, "store": "sqlite:///x"}, "", "exclude each other"),
    "bad network": ({"trusted_addresses": ["x"]}, "trusted_addresses", '"x": expected an IP'),
    "bad peer": ({"real_ip_from": ["unix:", "x"]}, "real_ip_from", '"x": expected an IP'),
    "bad header": ({"real_ip_header": "a b"}, "real_ip_header", "failed to match pattern"),
    "not an object": ([], "", "wrong type: expected object, got table"),
}


@pytest.mark.parametrize(("section", "path", "text"), REFUSED.values(), ids=list(REFUSED))
def test_refused(section: JSON, path: str, text: str) -> None:
    found = problems(section)
    assert list(found) == [path]
    assert text in found[path]


def test_a_bad_value_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGSIX_WORKERS", "many")
    monkeypatch.setenv("PINGSIX_STATUS", "{")
    found = problems({})
    assert set(found) == {"workers", "status"}
    assert "expected JSON" in found["status"]


def test_a_name_inside_a_section_given_as_json_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGSIX_DEFAULTS", '{"dns_resolution_timeout": 3}')
    monkeypatch.setenv("PINGSIX_DEFAULTS__NOPE", "1")
    monkeypatch.setenv("PINGSIX_DEFAULTS__DNS_REFRESH_INTERVAL", "0")
    assert set(problems({})) == {"defaults.nope", "defaults.dns_refresh_interval"}


def test_remote_admin_may_be_allowed() -> None:
    admin = {**KEYED, "address": "0.0.0.0:1", "allow_insecure_remote": True}
    assert isinstance(load_settings({"admin": admin}), Settings)


@pytest.mark.parametrize("host", ["http://u:s3cret@a:1", "u:s3cret@a:1?k=s3cret", "u:s3cret@[a"])
def test_credentials_in_an_address_of_etcd_are_not_told(host: str) -> None:
    with pytest.raises(ValueError, match="invalid_etcd_endpoint") as raised:
        Etcd._judge(Etcd(host=("a:1",)), host)
    assert "s3cret" not in str(raised.value)
