"""Whatever is sent to the Admin API: no 500, and nothing stored that does not compile."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pingsix_asgi.config.layout import decode_json, locate
from pingsix_asgi.config.sqlite import SQLiteStore
from pingsix_asgi.control.admin.kinds import KINDS
from pingsix_asgi.plugin.registry import Registry
from pingsix_asgi.snapshot.check import check_document
from support.admin_client import Admin

BASES: dict[str, dict[str, Any]] = {
    "routes": {
        "uri": "/a/*",
        "methods": ["GET"],
        "hosts": ["*.example.com"],
        "vars": [["arg_a", "==", "1"]],
        "upstream": {
            "nodes": [{"host": "127.0.0.1", "port": 80, "weight": 1}],
            "type": "roundrobin",
        },
        "plugins": {"key-auth": {}, "cors": {}, "stamp": {"count": 1}},
        "timeout": {"connect": 1, "send": 1, "read": 1},
    },
    "services": {"upstream": {"nodes": {"127.0.0.1:80": 1}}, "hosts": ["a.b"]},
    "upstreams": {
        "nodes": {"127.0.0.1:80": 1},
        "type": "chash",
        "key": "remote_addr",
        "checks": {"active": {"http_path": "/", "healthy": {"interval": 1}}},
        "keepalive_pool": {"size": 1},
    },
    "global_rules": {"plugins": {"ip-restriction": {"whitelist": ["127.0.0.1"]}}},
    "plugin_configs": {"plugins": {"cors": {"allow_origins": "*"}}, "desc": "x"},
    "consumers": {"username": "jack", "plugins": {"key-auth": {"key": "k"}}, "group_id": "1"},
    "consumer_groups": {"plugins": {"stamp": {"count": 1}}},
    "ssls": {"cert": "x" * 200, "key": "y" * 200, "snis": ["a.b"]},
    "protos": {"content": "x"},
    "plugin_metadata": {"count": 1},
    "secrets": {"uri": "http://127.0.0.1", "prefix": "p", "token": "t"},
}
PATHS = {"plugin_metadata": "/plugin_metadata/stamp", "secrets": "/secrets/vault/1"}

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["1", "/", "*", "$env://X", "***", "[::1]", "127.0.0.1:0", "\x00", "://", "{", 2**70]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["_meta", "id", "plugins", "nodes", "filter"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a document."""
    yield at
    children = (
        document.items()
        if isinstance(document, dict)
        else (enumerate(document) if isinstance(document, list) else ())
    )
    for key, value in children:
        yield from places(value, (*at, key))


def put_at(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copied = dict(document) if isinstance(document, dict) else list(document)
    copied[path[0]] = put_at(copied[path[0]], path[1:], value)
    return copied


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, Any]:
    """A resource with up to three of its parts replaced by junk."""
    kind = draw(st.sampled_from(sorted(BASES)))
    document: Any = BASES[kind]
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(document))))
        document = put_at(document, path, draw(JUNK))
    return kind, document


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def drive(folder: Path, requests: list[tuple[str, str, bytes]]) -> list[int]:
    """Send requests to a fresh Admin API; return the statuses and check what was stored."""

    async def run() -> list[int]:
        for old in folder.glob("fuzz.db*"):
            old.unlink()
        store = SQLiteStore(folder / "fuzz.db")
        admin = Admin(store)
        statuses = []
        for method, path, body in requests:
            answer = await admin.raw(method, path, body)
            statuses.append(answer.status)
            if answer.body.strip() and answer.header("content-type") == "application/json":
                json.loads(answer.body.decode())
        registry: Registry = admin.api._schemas._registry
        for item in (await store.list("/apisix/")).items:
            where = locate(item.key, "/apisix")
            if where is not None:
                assert not check_document(*where, decode_json(item.value), registry)
        await store.aclose()
        return statuses

    return asyncio.run(run())


FUZZ = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(mutated())
def test_mutated_resources(folder: Path, case: tuple[str, Any]) -> None:
    kind, document = case
    body = json.dumps(document).encode("utf-8", "surrogatepass")
    path = PATHS.get(kind, f"/{kind}/1" if kind != "consumers" else "/consumers")
    one = "/consumers/jack" if kind == "consumers" else path
    base = json.dumps(BASES[kind]).encode()
    requests = [
        ("PUT", path, body),
        ("POST", f"/{kind}", body),
        ("POST", f"/schema/validate/{kind}", body),
        ("PUT", path, base),
        ("PATCH", one, body),
        ("GET", one, b""),
        ("GET", f"/{kind}?name=a&label=b&uri=c", b""),
        ("DELETE", one, b""),
    ]
    assert max(drive(folder, requests)) < 500


@FUZZ
@given(st.sampled_from(sorted(BASES)), JUNK | st.binary(max_size=40).map(lambda raw: raw.hex()))
def test_junk_bodies(folder: Path, kind: str, junk: Any) -> None:
    body = json.dumps({kind: junk}).encode("utf-8", "surrogatepass")
    requests = [
        ("POST", "/configs/validate", body),
        ("POST", "/configs/validate", json.dumps(junk).encode("utf-8", "surrogatepass")),
        ("PUT", f"/{kind}/1", json.dumps(junk).encode("utf-8", "surrogatepass")),
    ]
    assert max(drive(folder, requests)) < 500


@FUZZ
@given(
    st.sampled_from(["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"]),
    st.lists(
        st.sampled_from(
            [*KINDS, "credentials", "schema", "plugins", "validate", "configs", "vault"]
        )
        | st.text(max_size=6),
        max_size=5,
    ),
    st.text(max_size=20),
    st.binary(max_size=60),
)
def test_any_path_query_and_body(
    folder: Path, method: str, segments: list[str], query: str, body: bytes
) -> None:
    path = "/".join(quote(part, safe="", errors="replace") for part in segments)
    target = f"/{path}?{quote(query, safe='=&', errors='replace')}"
    assert max(drive(folder, [(method, target, body)])) < 500
