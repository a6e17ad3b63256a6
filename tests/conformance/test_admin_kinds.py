"""The other kinds in the Admin API: services, consumers, credentials, groups, rules, secrets …"""

from __future__ import annotations

from typing import Any

import pytest

from support.conformance import Bench
from support.conformance_core import (
    Step,
    admin,
    delete,
    get,
    patch,
    post,
    put,
    refused,
    route,
    run,
)

NONE = "object matches none of the required"
LIMIT = {"count": 2, "time_window": 60, "rejected_code": 503, "key": "remote_addr"}
PLUGINS = {"plugins": {"limit-count": LIMIT}}
UPSTREAM = {"type": "roundrobin", "nodes": {"127.0.0.1:8080": 1}}
BROKEN: dict[str, Any] = {"plugins": {"api-breaker": {}}}
BROKEN_ERROR = (
    "failed to check the configuration of plugin api-breaker err: "
    'property "break_response_code" is required'
)
KEYED = {"key-auth": {"key": "auth-one"}}
VAULT = {"uri": "http://127.0.0.1:12800/get", "prefix": "kv/pingsix", "token": "shown"}

CASES: dict[str, list[Step]] = {
    "services": [
        put("services/1", {"upstream": UPSTREAM, "desc": "new"}, status=201,
            has={"key": "/apisix/services/1", "value": {"upstream": UPSTREAM, "id": "1"}}),
        put("services", {"id": 1, "upstream": UPSTREAM}, status=200),
        patch("services/1", {"desc": "x", "upstream": {"nodes": {"127.0.0.1:8081": 3}}},
              has={"value": {"upstream": {"nodes": {"127.0.0.1:8080": 1, "127.0.0.1:8081": 3}}}}),
        patch("services/1/upstream/nodes", {"127.0.0.1:8082": 1}, unlike=":8081"),
        post("services", {"upstream": UPSTREAM}, like='"key":"/apisix/services/[0-9]{20}"'),
        put("services/2", {}, status=201),
        put("services/3", {"plugins": {}, "hosts": ["*.foo.com", "bar.com"], "name": "three",
                           "enable_websocket": True, "labels": {"a": "b"}}),
        refused("services/1", {"id": 2}, "wrong service id"),
        refused("services", {}, "missing service id"),
        refused("services/1", {}, "wrong service id, do not need it", "POST"),
        refused("services/1", {"upstream_id": "9"},
                "failed to fetch upstream info by upstream id [9], response code: 404"),
        refused("services/1", {"upstream_id": "bad$"},
                f'invalid configuration: property "upstream_id" validation failed: {NONE}'),
        refused("services/1", {"hosts": []}, 'invalid configuration: property "hosts" '
                "validation failed: expect array to have at least 1 items"),
        refused("services/1", {"surprise": 1},
                "invalid configuration: additional properties forbidden, found surprise"),
        refused("services/1", BROKEN, BROKEN_ERROR),
        refused("services/bad$", {},
                f'invalid configuration: property "id" validation failed: {NONE}'),
        delete("services/1", document={"deleted": "1", "key": "/apisix/services/1"}),
        delete("services/1", status=404),
    ],
    "a service in use": [
        put("services/1", {"upstream": UPSTREAM}),
        put("routes/5", route(upstream=None, service_id=1), has={"value": {"service_id": 1}}),
        refused("services/1", None,
                "can not delete this service directly, route [5] is still using it now", "DELETE"),
        delete("services/1?force=true"),
        put("services/1", {"upstream": UPSTREAM}),
        delete("routes/5"),
        delete("services/1"),
    ],
    "consumers": [
        put("consumers", {"username": "jack", "desc": "new"}, status=201,
            has={"key": "/apisix/consumers/jack", "value": {"username": "jack", "desc": "new"}},
            unlike='"id"'),
        put("consumers", {"username": "jack", "plugins": KEYED}, status=200,
            has={"value": {"plugins": KEYED}}),
        put("consumers/jack", {"username": "jack", "plugins": KEYED}, status=200),
        put("consumers/jack-2_x", {"username": "jack-2_x"}, status=201),
        get("consumers/jack", has={"value": {"username": "jack", "plugins": KEYED}}),
        get("consumers", has={"total": 2}),
        refused("consumers/jill", {"username": "jack"}, "wrong username"),
        refused("consumers", {"id": "jack"},
                'invalid configuration: property "username" is required'),
        refused("consumers", {"username": "ja ck"}, 'invalid configuration: property "username" '
                'validation failed: failed to match pattern "^[a-zA-Z0-9_\\-]+$" with "ja ck"'),
        refused("consumers", {"username": "x", "plugins": {"key-auth": "text"}},
                "invalid plugins configuration: "
                'invalid plugin conf "text" for plugin [key-auth]'),
        refused("consumers", {"username": "x", "plugins": {"nope": {}}},
                "invalid plugins configuration: unknown plugin [nope]"),
        refused("consumers", {"username": "x", "plugins": KEYED},
                "duplicate key found with consumer: jack"),
        refused("consumers", {"username": "x", "group_id": "no"}, "failed to fetch consumer group "
                "info by consumer group id [no], response code: 404"),
        refused("consumers", {"username": "x", "surprise": 1},
                "invalid configuration: additional properties forbidden, found surprise"),
        delete("consumers/jack", document={"deleted": "1", "key": "/apisix/consumers/jack"}),
        delete("consumers/jack", status=404, document={"message": "Key not found"}),
        admin("PUT", "consumers", status=400, error="missing configurations"),
    ],
    "credentials": [
        admin("PUT", "consumers/jack/credentials/a", {"plugins": KEYED}, status=404,
              error="consumer not found"),
        put("consumers", {"username": "jack"}),
        get("consumers/jack/credentials", status=404, document={"message": "Key not found"}),
        put("consumers/jack/credentials/a", {"desc": "one", "plugins": KEYED}, status=201,
            has={"key": "/apisix/consumers/jack/credentials/a",
                 "value": {"id": "a", "desc": "one", "plugins": KEYED}}),
        put("consumers/jack/credentials/b", {"plugins": {"basic-auth": {"username": "u",
                                                                        "password": "p"}}}),
        put("consumers/jack/credentials", {"id": "d79a5aa3", "desc": "two"}, status=201,
            has={"key": "/apisix/consumers/jack/credentials/d79a5aa3"}),
        get("consumers", has={"total": 1}),
        get("consumers/jack/credentials", has={"total": 3}),
        get("consumers/jack/credentials/a", has={"value": {"plugins": KEYED}}),
        put("consumers/jack/credentials/a", {"plugins": {"key-auth": {"key": "new"}}}, status=200),
        refused("consumers/jack/credentials", {"plugins": KEYED}, "missing credential id"),
        refused("consumers/jack/credentials/c", {"plugins": {"limit-count": LIMIT}},
                "only supports auth type plugins in consumer credential"),
        refused("consumers/jack/credentials/c", {"plugins": {**KEYED, "basic-auth": {
                "username": "u2", "password": "p"}}}, 'invalid configuration: property "plugins" '
                "validation failed: expect object to have at most 1 properties"),
        refused("consumers/jack/credentials/c", {"plugins": {"key-auth": {"key": "new"}}},
                "duplicate key found with consumer: jack"),
        delete("consumers/jack/credentials/a"),
        get("consumers/jack/credentials", has={"total": 2}),
        get("consumers/jack/credentials/a", status=404),
        delete("consumers/jack"),
        get("consumers/jack/credentials", status=404, document={"message": "Key not found"}),
    ],
    "a consumer and its credential with the same key": [
        put("consumers", {"username": "jack"}),
        put("consumers/jack/credentials/a", {"plugins": KEYED}),
        put("consumers", {"username": "jack", "plugins": KEYED}),
        refused("consumers", {"username": "jill", "plugins": KEYED},
                "duplicate key found with consumer: jack"),
    ],
    "consumer groups": [
        put("consumer_groups/company_a", PLUGINS, status=201,
            has={"key": "/apisix/consumer_groups/company_a", "value": PLUGINS}),
        get("consumer_groups", has={"total": 1}),
        patch("consumer_groups/company_a", {"plugins": {"limit-count": {**LIMIT, "count": 3}}},
              has={"value": {"plugins": {"limit-count": {"count": 3}}}}),
        patch("consumer_groups/company_a/plugins", {"limit-count": LIMIT}, has={"value": PLUGINS}),
        put("consumer_groups/company_a", {**PLUGINS, "labels": {"你好": "世界"}, "desc": "d"},
            has={"value": {"labels": {"你好": "世界"}, "desc": "d"}}),
        refused("consumer_groups/company_a", BROKEN, BROKEN_ERROR),
        refused("consumer_groups/company_a", {"labels": "a", "plugins": {}},
                'invalid configuration: property "labels" validation failed: '
                "wrong type: expected object, got string"),
        refused("consumer_groups/company_a", {},
                'invalid configuration: property "plugins" is required'),
        put("consumers", {"username": "foobar", "group_id": "company_a", "plugins": KEYED}),
        refused("consumer_groups/company_a", None, "can not delete this consumer group, "
                "consumer [foobar] is still using it now", "DELETE"),
        delete("consumers/foobar"),
        delete("consumer_groups/company_a"),
    ],
    "plugin configs": [
        put("plugin_configs/1", PLUGINS, status=201,
            has={"key": "/apisix/plugin_configs/1", "value": PLUGINS}),
        patch("plugin_configs/1", {"plugins": {"limit-count": {"count": 3}}},
              has={"value": {"plugins": {"limit-count": {"count": 3, "time_window": 60}}}}),
        patch("plugin_configs/1/plugins", {"limit-count": LIMIT}, has={"value": PLUGINS}),
        refused("plugin_configs/1", BROKEN, BROKEN_ERROR),
        refused("plugin_configs/1", {}, 'invalid configuration: property "plugins" is required'),
        refused("plugin_configs/1", {"labels": "a", "plugins": {}},
                'invalid configuration: property "labels" validation failed: '
                "wrong type: expected object, got string"),
        put("routes/1", route(plugin_config_id=1)),
        refused("plugin_configs/1", None,
                "can not delete this plugin config, route [1] is still using it now", "DELETE"),
        delete("plugin_configs/1?force=true"),
    ],
    "global rules": [
        put("global_rules/1", PLUGINS, status=201,
            has={"key": "/apisix/global_rules/1", "value": {"id": "1", **PLUGINS}}),
        patch("global_rules/1", {"plugins": {"limit-count": {"count": 3}}},
              has={"value": {"plugins": {"limit-count": {"count": 3}}}}),
        patch("global_rules/1/plugins", {"limit-count": LIMIT}, has={"value": PLUGINS}),
        refused("global_rules/2", PLUGINS,
                "plugin 'limit-count' already exists in global rule with id '1'"),
        put("global_rules/2", {"plugins": {"ip-restriction": {"whitelist": ["127.0.0.0/24"]}}}),
        refused("global_rules/3", {"plugins": {"echo": {"body": "x"}, "ip-restriction": {
                "whitelist": ["::1"]}}},
                "plugin 'ip-restriction' already exists in global rule with id '2'"),
        put("global_rules/1", {"plugins": {"limit-count": {**LIMIT, "count": 9}}}, status=200),
        refused("global_rules/1", {}, 'invalid configuration: property "plugins" is required'),
        refused("global_rules/1", {"host": "foo.com", **PLUGINS},
                "invalid configuration: additional properties forbidden, found host"),
        refused("global_rules/1", BROKEN, BROKEN_ERROR),
        put("global_rules/a-b-c-ABC_0123", {"plugins": {}}),
        delete("global_rules/1", document={"deleted": "1", "key": "/apisix/global_rules/1"}),
        delete("global_rules/1", status=404),
    ],
    "plugin metadata": [
        put("plugin_metadata/http-logger", {"log_format": {"host": "$host"}}, status=201,
            has={"key": "/apisix/plugin_metadata/http-logger",
                 "value": {"log_format": {"host": "$host"}}}),
        put("plugin_metadata/http-logger", {"log_format": {"client": "$remote_addr"}}, status=200,
            unlike="host"),
        get("plugin_metadata/http-logger", has={"value": {"log_format": {"client":
                                                                         "$remote_addr"}}}),
        get("plugin_metadata", has={"total": 1}),
        refused("plugin_metadata", {"k": "v"}, "missing plugin name"),
        refused("plugin_metadata/test", {"k": "v"}, "invalid plugin name"),
        put("plugin_metadata/echo", {"k": "v"}, status=201),
        refused("plugin_metadata/http-logger", {"log_format": "text"},
                'invalid configuration: property "log_format" validation failed: '
                "wrong type: expected object, got string"),
        admin("PATCH", "plugin_metadata/http-logger", {}, status=405),
        delete("plugin_metadata/http-logger"),
        delete("plugin_metadata/http-logger", status=404),
        delete("plugin_metadata/not_found", status=404),
    ],
    "secrets": [
        put("secrets/vault/test1", VAULT, status=201,
            has={"key": "/apisix/secrets/vault/test1", "value": VAULT}),
        get("secrets/vault/test1", has={"value": VAULT}),
        get("secrets", has={"total": 1}, like='"key":"/apisix/secrets/vault/test1"'),
        patch("secrets/vault/test1/token", '"unknown"', has={"value": {"token": "unknown"}}),
        patch("secrets/vault/test1", VAULT, has={"value": VAULT}),
        refused("secrets/vault", {}, "no secret id", "PATCH"),
        admin("PUT", "secrets/vault/test1", {**VAULT, "uri": "/get"}, status=400,
              like="validation failed: failed to match pattern"),
        admin("PUT", "secrets/vault/test1", {"uri": VAULT["uri"]}, status=400,
              like='property \\\\"prefix\\\\" is required'),
        admin("PUT", "secrets/nothing/test1", VAULT, status=400),
        delete("secrets/vault/test1"),
        delete("secrets/vault/test1", status=404),
    ],
    "protos": [
        put("protos/1", {"content": 'syntax = "proto3"; package p; message A {}'}, status=201,
            has={"key": "/apisix/protos/1"}),
        post("protos", {"content": 'syntax = "proto3";'}),
        get("protos", has={"total": 2}),
        refused("protos/2", {}, 'invalid configuration: property "content" is required'),
        delete("protos/1"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_kind(bench: Bench, name: str) -> None:
    run(bench, CASES[name])


@pytest.mark.parametrize(
    "kind", ["services", "upstreams", "global_rules", "plugin_configs", "consumer_groups"]
)
def test_string_ids(bench: Bench, kind: str) -> None:
    bodies: dict[str, Any] = {"services": {}, "upstreams": UPSTREAM}
    body = bodies.get(kind, {"plugins": {}})
    run(
        bench,
        [
            put(f"{kind}/a-b-c-ABC_0123", body, status=201),
            delete(f"{kind}/a-b-c-ABC_0123"),
            admin("PUT", f"{kind}/*invalid", body, status=400),
            admin("PUT", f"{kind}/{'x' * 65}", body, status=400),
            admin("PUT", f"{kind}/1", status=400, error="missing configurations"),
            admin("PUT", f"{kind}/1", "[1]", status=400),
        ],
    )
