"""Plugins, schemas and validation in the Admin API."""

from __future__ import annotations

from typing import Any

import pytest

from support.conformance import Bench
from support.conformance_core import Step, admin, get, put, route, run

NONE = "value should match only one schema, but matches none"
VALID: dict[str, tuple[str, Any]] = {
    "route": ("routes", {"uri": "/a/*", "upstream": {"scheme": "https", "nodes": {"a.b": 1}}}),
    "route of another name": ("routes", route()),
    "upstream": ("upstreams", {"type": "roundrobin", "nodes": {"a.b": 100}}),
    "consumer": ("consumers", {"username": "jack", "plugins": {"key-auth": {"key": "x"}}}),
    "service": ("services", {}),
}
INVALID: list[tuple[str, Any, str]] = [
    ("routes", {**route(), "uri": 666},
     'property "uri" validation failed: wrong type: expected string, got number'),
    ("routes", route(""),
     'property "uri" validation failed: string too short, expected at least 1, got 0'),
    ("routes", {"uris": "x", "plugins": {}},
     'property "uris" validation failed: wrong type: expected array, got string'),
    ("routes", {"uris": [], "plugins": {}},
     'property "uris" validation failed: expect array to have at least 1 items'),
    ("routes", {"uris": ["/a", "/a"], "plugins": {}},
     'property "uris" validation failed: expected unique items but items 1 and 2 are equal'),
    ("routes", {"upstream": {"nodes": {"a": 1}}}, f"allOf 1 failed: {NONE}"),
    ("routes", route(status=3), 'property "status" validation failed: '
     "matches none of the enum values"),
    ("routes", route(plugin_config_id="@@@"),
     'property "plugin_config_id" validation failed: object matches none of the required'),
    ("upstreams", {"type": "roundrobin", "nodes": ["a.b"]},
     'property "nodes" validation failed: object matches none of the required'),
    ("consumers", {"username": "no spaces"}, 'property "username" validation failed: '
     'failed to match pattern "^[a-zA-Z0-9_\\-]+$" with "no spaces"'),
    ("global_rules", {"id": "1"}, 'property "plugins" is required'),
]  # fmt: skip


@pytest.mark.parametrize("name", VALID)
def test_valid(bench: Bench, name: str) -> None:
    kind, body = VALID[name]
    run(bench, [admin("POST", f"schema/validate/{kind}", body, text="")])


@pytest.mark.parametrize(("kind", "body", "error"), INVALID, ids=range(len(INVALID)))
def test_invalid(bench: Bench, kind: str, body: Any, error: str) -> None:
    run(bench, [admin("POST", f"schema/validate/{kind}", body, status=400, error=error)])


SCHEMAS: dict[str, list[Step]] = {
    "of resources": [
        get("schema/route", has={"type": "object"}, like='"uris"'),
        get("schema/route", like='"plugins":\\{"type":"object"}'),
        get("schema/service", like='"upstream_id"'),
        get("schema/service", like='"required".*additionalProperties'),
        get("schema/upstream", like='"retry_timeout"'),
        get("schema/consumer", like='"username"'),
        get("schema/ssl", like='"snis"'),
        get("schema/global_rule", like='"plugins"'),
        get("schema/consumer_group", like='"plugins"'),
        get("schema/plugin_config", like='"plugins"'),
        get("schema/noexits", status=400, error="not found schema: noexits"),
        admin("POST", "schema/service", {}, status=404),
        admin("PUT", "schema/service", {}, status=404),
        admin("POST", "schema/validate/nothing", {}, status=400),
    ],
    "of plugins": [
        get("schema/plugins/limit-req", has={"type": "object"}, like='"burst"'),
        get("plugins/limit-req", has={"type": "object"}, like='"rejected_code"'),
        get("plugins/basic-auth?schema_type=consumer",
            has={"required": ["username", "password"], "encrypt_fields": ["password"],
                 "properties": {"password": {"type": "string"}}}),
        get("plugins/key-auth?schema_type=metadata", status=400, error="not found schema"),
        get("plugins/asdf", status=404, error="plugin not found in subsystem http"),
        get("schema/plugins/asdf", status=404),
        get("plugins/http-logger?subsystem=stream", status=404,
            error="plugin not found in subsystem stream"),
        get("plugins/http-logger?subsystem=http", like='"uri"',
            has={"$comment": "this is a mark for our injected plugin schema",
                 "properties": {"_meta": {"additionalProperties": False}}}),
        get("plugins?subsystem=asdf", status=400, error="unsupported subsystem: asdf"),
        get("plugins/list?subsystem=asdf", status=400, error="unsupported subsystem: asdf"),
        get("plugins?all=true", like='"key-auth":\\{'),
        get("plugins/list", like='^\\["'),
    ],
    "reloading is accepted": [
        admin("PUT", "plugins/reload", status=200, text="done"),
        admin("POST", "plugins/reload", status=405),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas(bench: Bench, name: str) -> None:
    run(bench, SCHEMAS[name])


def test_plugins_are_listed_by_priority(bench: Bench) -> None:
    known = bench.manage("GET", "plugins?all=true").json()
    names = bench.manage("GET", "plugins/list").json()
    assert set(names) == set(known)
    priorities = [known[name]["priority"] for name in names]
    assert priorities == sorted(priorities, reverse=True)
    auth = {name: about["priority"] for name, about in known.items() if about.get("type") == "auth"}
    expected = {
        "multi-auth": 2600,
        "hmac-auth": 2530,
        "basic-auth": 2520,
        "jwt-auth": 2510,
        "key-auth": 2500,
    }
    assert auth == expected
    assert known["basic-auth"]["consumer_schema"]["required"] == ["username", "password"]
    assert known["http-logger"]["metadata_schema"]["type"] == "object"


ROUTES = [{"id": "r1", **route()}]
CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "nothing": ({}, {}),
    "a route": ({"routes": ROUTES}, {}),
    "several kinds": (
        {
            "routes": ROUTES,
            "services": [{"id": "s1", "upstream": {"nodes": {"a": 1}}}, {}],
            "upstreams": [{"id": 1, "nodes": {"a": 1}}],
            "consumers": [{"username": "jack", "plugins": {"key-auth": {"key": "auth-one"}}}],
        },
        {},
    ),
    "without ids": ({"routes": [route("/a"), route("/b")], "services": [{}]}, {}),
    "references are not looked up": ({"routes": [{"uri": "/a", "service_id": "no"}]}, {}),
    "no body": (None, {"status": 400, "like": "invalid request body"}),
    "no JSON": ("not json", {"status": 400, "like": "invalid request body"}),
    "two faults": (
        {"routes": [{"id": "a", "uri": 1}, {"id": "b", "uri": 2}, ROUTES[0]]},
        {
            "status": 400,
            "has": {"error_msg": "Configuration validation failed"},
            "like": '"index":0,"error":"invalid routes at index 0, .*"index":1,"error":"invalid '
            "routes at index 1, ",
            "unlike": '"index":2,',
        },
    ),
    "an id twice": (
        {"routes": [ROUTES[0], ROUTES[0]]},
        {"status": 400, "like": "found duplicate id r1 in routes"},
    ),
    "a name twice": (
        {"consumers": [{"username": "jack"}, {"username": "jack"}]},
        {"status": 400, "like": "found duplicate username jack in consumers"},
    ),
    "a plugin's own rule": (
        {"routes": [route(plugins={"cors": {"allow_credential": True, "allow_origins": "*"}})]},
        {"status": 400, "like": "failed to check the configuration of plugin cors err"},
    ),
    "an upstream": (
        {"upstreams": [{"id": "1", "type": "invalid_type", "nodes": {"a": 1}}]},
        {"status": 400, "like": "invalid upstreams at index 0, err: .*: property .*type"},
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_whole_configuration(bench: Bench, name: str) -> None:
    body, expected = CONFIGS[name]
    run(
        bench,
        [
            admin("POST", "configs/validate", body, **expected),
            get("routes", has={"total": 0}),
            put("routes/1", route()),
        ],
    )
