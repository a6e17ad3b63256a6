"""What a user may give, and the source it becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi import PingSIX
from pingsix_asgi.config.env import one_liner
from pingsix_asgi.config.file import FileSource
from pingsix_asgi.config.open import open_config
from pingsix_asgi.config.sqlite import SQLiteStore
from pingsix_asgi.errors import InvalidConfig, SourceError
from pingsix_asgi.model.resources import Resources
from pingsix_asgi.settings import Settings, load_settings
from pingsix_asgi.testing import Client, EchoApp

ROUTE = {"id": "1", "uri": "/", "plugins": {}}


async def loaded(environ: dict[str, str]) -> Resources:
    return (await open_config(None, environ).source.load())[0]


async def test_nothing_at_all() -> None:
    opened = open_config(None, {})
    assert opened.name == "env"
    assert (await opened.source.load()) == ({}, 1)


async def test_inline_yaml_and_json() -> None:
    inline = "routes: [{id: 1, uri: '/${{WHERE}}', plugins: {}}]"
    resources = await loaded({"PINGSIX_CONFIG": inline, "WHERE": "x"})
    assert resources["routes"]["1"]["uri"] == "/x"
    resources = await loaded({"PINGSIX_CONFIG": json.dumps({"routes": [ROUTE]})})
    assert resources == {"routes": {"1": ROUTE}}


async def test_file_by_environment(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("pingora: {threads: 5}\nroutes: [{id: 1, uri: /, plugins: {}}]")
    opened = open_config(None, {"PINGSIX_CONFIG_FILE": str(path)})
    assert isinstance(opened.source, FileSource)
    assert opened.name == "yaml"
    assert opened.settings.worker_count == 5
    assert list((await opened.source.load())[0]["routes"]) == ["1"]


async def test_one_liner() -> None:
    resources = await loaded(
        {
            "PINGSIX_UPSTREAM": "http://127.0.0.1:8000, 127.0.0.1:8001",
            "PINGSIX_PLUGINS": '{"cors": {}}',
        }
    )
    assert resources == {
        "routes": {
            "default": {
                "id": "default",
                "uri": "/*",
                "upstream": {
                    "scheme": "http",
                    "nodes": {"127.0.0.1:8000": 1, "127.0.0.1:8001": 1},
                },
                "plugins": {"cors": {}},
            }
        }
    }


def test_one_liner_over_tls_and_with_plugins_alone() -> None:
    assert one_liner({"PINGSIX_UPSTREAM": "https://[::1]:8443/"})["routes"][0]["upstream"] == {
        "scheme": "https",
        "nodes": {"[::1]:8443": 1},
    }
    assert one_liner({"PINGSIX_PLUGINS": "{}"}) == {
        "routes": [{"id": "default", "uri": "/*", "plugins": {}}]
    }


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"PINGSIX_UPSTREAM": "ftp://x"}, "PINGSIX_UPSTREAM: "),
        ({"PINGSIX_UPSTREAM": "http://x/path"}, 'PINGSIX_UPSTREAM: "http://x/path"'),
        ({"PINGSIX_UPSTREAM": "http://a,https://b"}, "cannot be mixed"),
        ({"PINGSIX_PLUGINS": "[]"}, "PINGSIX_PLUGINS: expected an object"),
        ({"PINGSIX_PLUGINS": "{"}, "PINGSIX_PLUGINS: not valid YAML"),
        ({"PINGSIX_PLUGINS": "{a: '${{NOPE}}'}"}, "PINGSIX_PLUGINS: can't find"),
        ({"PINGSIX_CONFIG": "a: [", "X": ""}, "PINGSIX_CONFIG: not valid YAML"),
        ({"PINGSIX_CONFIG": "a: ${{NOPE}}"}, "PINGSIX_CONFIG: can't find"),
        (
            {"PINGSIX_CONFIG": "{}", "PINGSIX_UPSTREAM": "http://a"},
            "environment: PINGSIX_CONFIG and PINGSIX_UPSTREAM exclude each other",
        ),
    ],
)
def test_bad_environment_is_named(environ: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        open_config(None, environ)
    assert text in str(raised.value)


async def test_a_dict_is_copied() -> None:
    document: dict[str, Any] = {"routes": [{**ROUTE, "plugins": {}}]}
    opened = open_config(document)
    document["routes"][0]["uri"] = "/changed"
    assert opened.name == "dict"
    assert (await opened.source.load())[0]["routes"]["1"]["uri"] == "/"


async def test_settings_alone() -> None:
    opened = open_config(load_settings({"workers": 2}))
    assert isinstance(opened.settings, Settings)
    assert (await opened.source.load())[0] == {}


async def test_a_store_in_the_settings_is_where_resources_come_from(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    opened = open_config({"pingsix": {"store": url}, "routes": [ROUTE]})
    assert isinstance(opened.store, SQLiteStore)
    assert opened.name == "sqlite"
    assert (await opened.source.load())[0] == {}
    await opened.store.aclose()


def test_etcd_in_the_settings() -> None:
    opened = open_config({"pingsix": {"etcd": {"host": ["127.0.0.1:1"], "prefix": "/p/"}}})
    assert opened.name == "etcd"
    assert opened.store is not None
    assert opened.store.prefix == "/p"


def test_etcd_with_certificates_that_are_not_there() -> None:
    etcd = {"host": ["127.0.0.1:1"], "tls": {"ca_cert": "/nowhere/ca.pem"}}
    with pytest.raises(SourceError, match=r"etcd\.tls"):
        open_config({"pingsix": {"etcd": etcd}})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read configuration file .* No such file"):
        open_config(tmp_path / "none.yaml")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match="is not UTF-8"):
        open_config(path)


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfpingora: {threads: 2}")
    assert open_config(path).settings.worker_count == 2


def test_what_belongs_to_run_is_told_to_be_unused_in_process(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    section = {
        "admin": {"api_key": "k"},
        "status": {},
        "listeners": ["127.0.0.1:1"],
        "defaults": {},
    }
    opened = open_config({"pingsix": section}, {})
    assert opened.store is None
    assert caplog.messages == [
        "in-process these settings have no effect, they are those of pingsix-asgi run: "
        "listeners, admin, status"
    ]
    caplog.clear()
    opened = open_config({"pingsix": section}, {}, is_process=True)
    assert opened.name == "sqlite"
    assert caplog.messages == []
    assert open_config({"routes": [ROUTE]}, {}).name == "dict"
    assert caplog.messages == []


def test_resources_beside_a_store_are_told_to_be_unused(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    store = {"store": f"sqlite:///{tmp_path}/x.db"}
    open_config({"pingsix": store}, {})
    assert caplog.messages == []
    open_config({"pingsix": store, "routes": [ROUTE]}, {})
    assert caplog.messages == [
        "the configuration's own resources (1) are not used: they come from the sqlite store"
    ]


def test_variables_that_are_no_settings_are_named(caplog: pytest.LogCaptureFixture) -> None:
    known = {
        "PINGSIX_PLUGINS": "{}",
        "PINGSIX_LOG_LEVEL": "info",
        "PINGSIX_SHARED_DIR": "/tmp",
        "PINGSIX_ADMIN_URL": "x",
        "PINGSIX_DEFAULTS__UPSTREAM_TLS_VERIFY": "true",
        "pingsix_workers": "1",
    }
    open_config(None, known)
    assert caplog.messages == []
    open_config(None, {**known, "PINGSIX_UPSTREM": "x", "PINGSIX_ADMN__KEY": "x"})
    assert caplog.messages == [
        "PINGSIX_ADMN__KEY: there is no such setting",
        "PINGSIX_UPSTREM: there is no such setting",
    ]


def test_a_process_with_nothing_to_do_says_so(caplog: pytest.LogCaptureFixture) -> None:
    open_config(None, {})
    open_config({}, {}, is_process=True)
    assert caplog.messages == []
    open_config(None, {}, is_process=True)
    assert caplog.messages == ["nothing is configured: without routes everything is answered 404"]


async def test_from_env_takes_an_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGSIX_PLUGINS", '{"echo": {"body": "from the environment"}}')
    gateway = PingSIX.from_env(EchoApp())
    await gateway.startup()
    try:
        assert (await Client(gateway).get("/x")).text == "from the environment"
    finally:
        await gateway.shutdown()
