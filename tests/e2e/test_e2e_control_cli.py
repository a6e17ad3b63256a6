"""get, apply, diff, export and plugins, against the Admin API of a running gateway."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pingsix_asgi.cli import main
from pingsix_asgi.cli.configuration import to_yaml
from pingsix_asgi.config.yaml_text import read_text
from support.pki import PKI
from support.processes import accepts, free_port, gateway, get, wait_until

KEY = "the-admin-key"
Shell = Callable[..., tuple[int, str, str]]


@dataclass
class Server:
    url: str
    port: int


@pytest.fixture(scope="module", params=["plain", "encrypted"])
def server(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("cli")
    port, admin = free_port(), free_port()
    section: dict[str, Any] = {
        "listeners": [f"127.0.0.1:{port}"],
        "admin": {"address": f"127.0.0.1:{admin}", "api_key": KEY},
        "store": f"sqlite:///{folder}/store.db",
    }
    if request.param == "encrypted":
        section["data_encryption"] = {"enable": True, "keyring": ["some-key"]}
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump({"pingsix": section}))
    with gateway("run", "-c", str(path)) as process:
        process.wait_for(lambda: accepts(admin) and accepts(port), "listening")
        yield Server(f"http://127.0.0.1:{admin}", port)


@pytest.fixture
def shell(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    """Run a command against the server, whose store is emptied in the end."""
    monkeypatch.setenv("PINGSIX_ADMIN_URL", server.url)
    monkeypatch.setenv("PINGSIX_ADMIN__API_KEY", KEY)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield run
    found = run("apply", "-f", os.devnull, "--prune-all")
    assert found[0] == 0, found


def write(folder: Path, **sections: Any) -> Path:
    path = folder / "wanted.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def everything(pki: PKI) -> dict[str, Any]:
    """Return a document with resources of every kind, each referring to others where it can."""
    return {
        "pingsix": {"listeners": ["0.0.0.0:1"], "nonsense": "passed over"},
        "routes": [
            {"id": "1", "uri": "/hello", "service_id": "s", "plugin_config_id": "p"},
            {"id": 2, "uri": "/on", "desc": "no", "plugins": {"echo": {"body": "12:30\n"}}},
        ],
        "services": [{"id": "s", "upstream_id": "u", "name": "a service"}],
        "upstreams": [{"id": "u", "nodes": {"127.0.0.1:9": 1}}],
        "plugin_configs": [{"id": "p", "plugins": {"cors": {}}}],
        "global_rules": [{"id": "g", "plugins": {"request-id": {}}}],
        "consumer_groups": [{"id": "cg", "plugins": {"ip-restriction": {"whitelist": ["::1"]}}}],
        "consumers": [
            {"username": "jack", "group_id": "cg", "plugins": {"key-auth": {"key": "jacks"}}},
            {"id": "jack/credentials/two", "plugins": {"key-auth": {"key": "second"}}},
        ],
        "plugin_metadata": [{"id": "http-logger", "log_format": {"host": "$host"}}],
        "secrets": [{"id": "vault/1", "uri": "http://127.0.0.1:1", "prefix": "kv", "token": "t"}],
        "protos": [{"id": "1", "content": 'syntax = "proto3";'}],
        "ssls": [{"id": "1", **pki.ssl("a.example.com")}],
    }


def test_apply_makes_the_store_equal_and_export_round_trips(shell: Shell, tmp_path: Path) -> None:
    document = everything(PKI())
    file = write(tmp_path, **document)
    code, out, err = shell("apply", "-f", file)
    assert not err
    assert (code, out.splitlines()[-1]) == (0, "13 created, 0 updated, 0 deleted")
    assert shell("diff", "-f", file) == (0, "", "")

    exported = tmp_path / "all.yaml"
    assert shell("export", "-o", exported) == (0, "", "")
    assert exported.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in exported.read_text()
    assert shell("diff", "-f", exported) == (0, "", "")
    assert shell("apply", "-f", exported)[:2] == (0, "nothing to do\n")
    assert shell("apply", "-f", exported, "--rewrite")[0] == 0
    as_json = tmp_path / "all.json"
    assert shell("export", "-o", as_json)[0] == 0
    found = read_text(exported.read_text(), {})
    assert found == json.loads(as_json.read_text())
    assert [route["id"] for route in found["routes"]] == ["1", "2"]
    assert shell("diff", "-f", as_json) == (0, "", "")


def test_the_difference_is_printed_and_a_dry_run_changes_nothing(
    shell: Shell, tmp_path: Path
) -> None:
    upstreams = [{"id": "u", "nodes": {"127.0.0.1:9": 1}, "retries": 1}, {"id": "old", "nodes": {}}]
    assert shell("apply", "-f", write(tmp_path, upstreams=upstreams))[0] == 0
    wanted = write(
        tmp_path,
        upstreams=[{"id": "u", "nodes": {"127.0.0.1:9": 5}}],
        routes=[{"id": "1", "uri": "/", "upstream_id": "u"}],
    )
    lines = [
        "~ upstreams/u",
        "    nodes.127.0.0.1:9: 1 -> 5",
        "    retries: 1 -> nothing",
        "+ routes/1",
        "- upstreams/old",
    ]
    assert shell("diff", "-f", wanted) == (1, "\n".join(lines) + "\n", "")
    assert shell("apply", "-f", wanted, "--dry-run") == (0, "\n".join(lines) + "\n", "")
    assert shell("diff", "-f", wanted)[0] == 1
    code, out, _ = shell("diff", "-f", wanted, "--no-prune")
    assert (code, out) == (1, "\n".join(lines[:-1]) + "\n")
    code, out, _ = shell("apply", "-f", wanted)
    assert (code, out.splitlines()[-1]) == (0, "1 created, 1 updated, 1 deleted")


def test_kinds_without_a_section_are_left_alone_unless_asked(shell: Shell, tmp_path: Path) -> None:
    upstream = {"id": "u", "nodes": {"127.0.0.1:9": 1}}
    route = {"id": "1", "uri": "/", "upstream_id": "u"}
    assert shell("apply", "-f", write(tmp_path, upstreams=[upstream], routes=[route]))[0] == 0
    assert shell("apply", "-f", write(tmp_path, routes=[]))[1].splitlines()[0] == "- routes/1"
    assert shell("get", "upstreams", "u")[0] == 0
    out = shell("apply", "-f", write(tmp_path, routes=[]), "--prune-all")[1]
    assert out.splitlines() == ["- upstreams/u", "0 created, 0 updated, 1 deleted"]


def test_what_is_still_in_use_is_deleted_after_what_uses_it(shell: Shell, tmp_path: Path) -> None:
    """A credential's key, and a global rule's plugin, move from one resource to another."""
    key = {"key-auth": {"key": "moves"}}
    first = write(
        tmp_path,
        consumers=[{"username": "old", "plugins": key}],
        global_rules=[{"id": "old", "plugins": {"request-id": {}}}],
    )
    assert shell("apply", "-f", first)[0] == 0
    second = write(
        tmp_path,
        consumers=[{"username": "new", "plugins": key}],
        global_rules=[{"id": "new", "plugins": {"request-id": {}}}],
    )
    assert shell("apply", "-f", second)[0] == 0
    assert shell("diff", "-f", second)[0] == 0


def test_secrets_are_never_printed_and_always_applied(
    shell: Shell, server: Server, tmp_path: Path
) -> None:
    def consumers(key: str) -> Path:
        jack = {"username": "jack", "plugins": {"key-auth": {"key": key}}}
        route = {"id": "1", "uri": "/*", "plugins": {"key-auth": {}, "mocking": MOCK}}
        return write(tmp_path, consumers=[jack], routes=[route])

    def lets_in(key: str) -> bool:
        return get(server.port, "/", {"apikey": key})[0] == 200

    assert shell("apply", "-f", consumers("first-key"))[0] == 0
    wait_until(lambda: lets_in("first-key"), "the first key")
    code, out, err = shell("apply", "-f", consumers("second-key"))
    assert code == 0
    assert "consumers/jack" in out
    assert "-key" not in out.replace("key-auth", "") + err
    wait_until(lambda: lets_in("second-key"), "the second key")
    assert not lets_in("first-key")


MOCK = {"response_example": "yes"}


def test_an_invalid_file_changes_nothing_and_every_fault_is_named(
    shell: Shell, tmp_path: Path
) -> None:
    old = [{"id": "old", "uri": "/", "plugins": {}}]
    assert shell("apply", "-f", write(tmp_path, routes=old))[0] == 0
    file = write(
        tmp_path,
        routes=[
            {"id": "good", "uri": "/", "plugins": {}},
            {"id": "bad", "uri": "/", "upstream_id": "nowhere"},
            {"id": "worse", "uri": "/", "plugins": {"limit-count": {"count": -1}}},
            {"id": "worst", "uri": "/", "plugins": {"no-such-plugin": {}}},
        ],
    )
    for command, trouble in (
        (("diff",), 2),
        (("apply",), 1),
        (("apply", "--dry-run"), 1),
        (("apply", "--no-prune"), 1),
    ):
        code, out, err = shell(*command, "-f", file)
        assert (code, out) == (trouble, "")
        assert "pingsix-asgi: routes/bad: upstream_id: failed to fetch upstream" in err
        assert "pingsix-asgi: routes/worse: " in err
        assert "pingsix-asgi: routes/worst: " in err
        assert "routes/good" not in err
    assert [line.split()[1] for line in shell("get", "routes")[1].splitlines()[1:]] == ["old"]


def test_nothing_is_deleted_after_a_write_was_refused(shell: Shell, tmp_path: Path) -> None:
    """Two consumers with one key: no file check sees it, the server refuses the second."""
    jack = {"username": "jack", "plugins": {"key-auth": {"key": "one"}}}
    route = {"id": "old", "uri": "/", "plugins": {}}
    assert shell("apply", "-f", write(tmp_path, routes=[route], consumers=[jack]))[0] == 0
    file = write(
        tmp_path,
        routes=[{"id": "new", "uri": "/", "plugins": {}}],
        consumers=[jack, {"username": "jill", "plugins": {"key-auth": {"key": "one"}}}],
    )
    code, out, err = shell("apply", "-f", file)
    assert code == 1
    assert "duplicate key" in err
    assert out.splitlines()[-1].startswith("1 created, ")
    assert out.splitlines()[-1].endswith("0 deleted, 1 refused, 1 not tried")
    assert shell("get", "routes", "old")[0] == 0


@pytest.mark.parametrize("command", ["apply", "diff"])
def test_files_that_cannot_be_read(shell: Shell, tmp_path: Path, command: str) -> None:
    trouble = 2 if command == "diff" else 1
    for text, why in (
        ("routes: [", "not valid YAML"),
        ("routes: {}", "wrong type: expected array"),
        ("rutes: []", "additional properties forbidden, found rutes"),
        ("routes: [{id: '${{NOT_SET_ANYWHERE}}'}]", "NOT_SET_ANYWHERE"),
    ):
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        code, _, err = shell(command, "-f", path)
        assert code == trouble, err
        assert why in err
    assert shell(command, "-f", tmp_path / "none.yaml")[0] == trouble


def test_a_server_that_refuses_or_is_not_there(shell: Shell, tmp_path: Path) -> None:
    file = write(tmp_path, routes=[])
    for arguments in (("get",), ("export",), ("apply", "-f", file)):
        code, _, err = shell(*arguments, "--key", "wrong")
        assert (code, "wrong apikey" in err) == (1, True)
        code, _, err = shell(*arguments, "--server", f"http://127.0.0.1:{free_port()}")
        assert (code, "127.0.0.1" in err) == (1, True)
    assert shell("diff", "-f", file, "--key", "wrong")[0] == 2


def test_get(shell: Shell, tmp_path: Path) -> None:
    assert shell("apply", "-f", write(tmp_path, **everything(PKI())))[0] == 0
    code, out, _ = shell("get")
    assert code == 0
    assert out.splitlines()[0].split() == ["KIND", "ID", "NAME", "WHAT"]
    assert len(out.splitlines()) == 14
    assert "a service" in out
    for kind in ("route", "routes"):
        _, out, _ = shell("get", kind, "1", "-o", "json")
        assert json.loads(out)["uri"] == "/hello"
    _, out, _ = shell("get", "upstreams", "u")
    assert yaml.safe_load(out) == {"id": "u", "nodes": {"127.0.0.1:9": 1}}
    _, out, _ = shell("get", "credentials", "-o", "yaml")
    assert yaml.safe_load(out)["consumers"][0]["id"] == "jack/credentials/two"
    code, _, err = shell("get", "routes", "7")
    assert (code, err) == (1, "pingsix-asgi: routes/7: not found\n")
    assert "no such kind: stars" in shell("get", "stars")[2]


def test_plugins(shell: Shell) -> None:
    code, out, _ = shell("plugins")
    names = [line.split()[0] for line in out.splitlines()[1:]]
    assert code == 0
    assert {"key-auth", "limit-count", "cors"} <= set(names)
    listed = json.loads(shell("plugins", "-o", "json")[1])
    assert [one["name"] for one in listed] == names
    assert [one["priority"] for one in listed] == sorted(
        (one["priority"] for one in listed), reverse=True
    )
    out = shell("plugins", "key-auth")[1]
    assert "hide_credentials" in out
    assert "in a consumer or credential:" in out
    (option, *_) = json.loads(shell("plugins", "key-auth", "-o", "json")[1])["options"]
    assert (option["name"], option["default"]) == ("header", '"apikey"')
    assert shell("plugins", "none")[::2] == (1, "pingsix-asgi: unknown plugin [none]\n")


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"))
    | st.sampled_from(["no", "1e3", ".5", "0x1F", "12:30", "~", "<<", "a: b", "# c", "2026-01-01"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("ab1~.", max_size=3), inner)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
@settings(max_examples=300, deadline=None)
def test_what_is_written_as_yaml_reads_the_same(value: Any) -> None:
    assert read_text(to_yaml(value), {}) == value
