"""Routes in the Admin API: verbs, ids, what is refused and in which words."""

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
ENUM = "matches none of the enum values"
LONG = "x" * 257


def invalid(field: str, text: str, body: Any, path: str = "routes/1") -> Step:
    """A field that is refused, with the text that follows its name."""
    chain = "".join(f'property "{name}" validation failed: ' for name in field.split("."))
    return refused(path, body, f"invalid configuration: {chain}{text}")


VERBS: dict[str, list[Step]] = {
    "put, get, put again, delete": [
        put("routes/1", route(methods=["GET"], desc="first"), status=201,
            has={"key": "/apisix/routes/1", "value": {"id": "1", "uri": "/hello", "desc": "first"}},
            answer={"content-type": "application/json", "x-api-version": "v3"}),
        get("routes/1", has={"key": "/apisix/routes/1", "value": route(desc="first")}),
        put("routes/1", route(desc="second"), status=200, has={"value": {"desc": "second"}}),
        delete("routes/1", document={"deleted": "1", "key": "/apisix/routes/1"}),
        get("routes/1", status=404, document={"message": "Key not found"}),
        delete("routes/1", status=404, document={"message": "Key not found"}),
    ],
    "post makes an id": [
        post("routes", route(), has={"value": route()}, like='"key":"/apisix/routes/[0-9]{20}"'),
        refused("routes/1", route(), "wrong route id, do not need it", "POST"),
        refused("routes", {"id": 1, **route()}, "wrong route id, do not need it", "POST"),
    ],
    "the id in the body": [
        put("routes", {"id": "7", **route()}, status=201, has={"key": "/apisix/routes/7"}),
        put("routes", {"id": 8, **route()}, status=201,
            has={"key": "/apisix/routes/8", "value": {"id": 8}}),
        put("routes/9", {"id": 9, **route()}, status=201, has={"value": {"id": "9"}}),
        put("routes/9", {"id": "9", **route()}, status=200),
        refused("routes/9", {"id": 3, **route()}, "wrong route id"),
        refused("routes", route(), "missing route id"),
        refused("routes", {"id": -100, **route()},
                f'invalid configuration: property "id" validation failed: {NONE}'),
        refused("routes", {"id": "no/slash", **route()},
                f'invalid configuration: property "id" validation failed: {NONE}'),
        refused("routes/*star", route(),
                f'invalid configuration: property "id" validation failed: {NONE}'),
        put("routes/a-b.c_D9", route(), status=201),
        refused("routes/" + "i" * 65, route(),
                f'invalid configuration: property "id" validation failed: {NONE}'),
    ],
    "patch merges, replaces arrays, null takes away": [
        put("routes/1", route(methods=["GET", "PUT"], labels={"env": "a", "build": "1"})),
        patch("routes/1", {"methods": ["POST"], "labels": {"env": None, "zone": "x"}},
              has={"value": {"methods": ["POST"], "labels": {"build": "1", "zone": "x"}}}),
        patch("routes/1", {"upstream": {"nodes": {"{A}": None, "{B}": 2}}},
              has={"value": {"upstream": {"nodes": {"{B}": 2}}}}, unlike="{A}"),
        patch("routes/1/", {"uri": "/other"}, has={"value": {"uri": "/other"}}),
        patch("routes/2", {"uri": "/x"}, status=404, document={"message": "Key not found"}),
        refused("routes", {"uri": "/x"}, "missing route id", "PATCH"),
        admin("PATCH", "routes/1", '"text"', status=400, error="invalid configuration"),
        admin("PATCH", "routes/1", status=400, error="missing new configuration"),
        refused("routes/1", {"uri": None},
                "invalid configuration: allOf 1 failed: "
                "value should match only one schema, but matches none", "PATCH"),
        refused("routes/1", {"id": "2"}, "wrong route id", "PATCH"),
    ],
    "patch of a part": [
        put("routes/1", route(methods=["GET"])),
        patch("routes/1/methods", ["POST", "PUT"], has={"value": {"methods": ["POST", "PUT"]}}),
        patch("routes/1/uri", '"/part"', has={"value": {"uri": "/part"}}),
        patch("routes/1/upstream/nodes", {"{B}": 1}, like='"nodes":{"{B}":1}', unlike="{A}"),
        patch("routes/1/upstream/retries", 3, has={"value": {"upstream": {"retries": 3}}}),
        patch("routes/1/upstream", {"nodes": {"{A}": 1}, "type": "roundrobin"}, unlike="retries"),
        patch("routes/1/labels", {"env": "x"}, has={"value": {"labels": {"env": "x"}}}),
        patch("routes/1/enable_websocket", True, has={"value": {"enable_websocket": True}}),
        patch("routes/1/methods", '"GET"', status=400),
        patch("routes/1/nothing/here", 1, status=400),
    ],
    "times are the store's": [
        put("routes/1", route(), like='"create_time":[0-9]+.*"update_time":[0-9]+'),
        refused("routes/1", route(create_time=1), "the property is forbidden:  create_time"),
        refused("routes/1", route(update_time=1), "the property is forbidden:  update_time"),
        refused("routes/1", route(upstream={"nodes": {"{A}": 1}, "create_time": 1}),
                "the property is forbidden:  upstream.create_time"),
        refused("routes/1", route(plugins={"echo": {"body": "x", "update_time": 5}}),
                "the property is forbidden:  plugins.echo.update_time"),
        patch("routes/1", {"update_time": 1705252779, "create_time": 1705252778},
              has={"value": {"update_time": 1705252779, "create_time": 1705252778}}),
        patch("routes/1", {"desc": "later"}, has={"value": {"create_time": 1705252778}},
              unlike="1705252779"),
    ],
    "ttl": [
        refused("routes/1?ttl=soon", route(), "invalid argument ttl: should be a number"),
        refused("routes?ttl=soon", route(), "invalid argument ttl: should be a number"),
        refused("routes?ttl=soon", route(), "invalid argument ttl: should be a number", "POST"),
        put("routes/1?ttl=60", route(), status=201),
        post("routes?ttl=60", route()),
        patch("routes/1?ttl=100", {"desc": "x"}),
    ],
    "names in any script, long values, labels": [
        put("routes/1", route(labels={"钥匙": "价值"}, name="маршрут", desc="d" * 256),
            has={"value": {"labels": {"钥匙": "价值"}, "name": "маршрут"}}),
        put("routes/1", route(labels={"long": "v" * 256})),
        invalid("name", "string too long, expected at most 256, got 257", route(name=LONG)),
        invalid("name", "string too short, expected at least 1, got 0", route(name="")),
        invalid("desc", "string too long, expected at most 256, got 257", route(desc=LONG)),
        invalid("labels", 'failed to validate env (matching ".*"): '
                "wrong type: expected string, got table", route(labels={"env": ["a", "b"]})),
        invalid("labels", 'failed to validate env (matching ".*"): '
                'failed to match pattern "^\\S+$" with "a b"', route(labels={"env": "a b"})),
    ],
}  # fmt: skip

REFUSED: list[Step] = [
    invalid("methods", f"failed to validate item 1: {ENUM}", route(methods=["fetch"])),
    invalid("methods", "expected unique items but items 1 and 2 are equal",
            route(methods=["GET", "GET"])),
    invalid("service_id", NONE, route(service_id="bad$")),
    invalid("upstream_id", NONE, route(upstream=None, upstream_id="bad$")),
    invalid("plugin_config_id", NONE, route(plugin_config_id="@@@")),
    refused("routes/1", route(upstream=None, service_id="99"),
            "failed to fetch service info by service id [99], response code: 404"),
    refused("routes/1", route(upstream=None, upstream_id="99"),
            "failed to fetch upstream info by upstream id [99], response code: 404"),
    refused("routes/1", route(plugin_config_id="99"),
            "failed to fetch plugin config info by plugin config id [99], response code: 404"),
    refused("routes/1", route(host="a.com", hosts=["b.com"]),
            "only one of host or hosts is allowed"),
    refused("routes/1", route(remote_addr="127.0.0.1", remote_addrs=["127.0.0.1"]),
            "only one of remote_addr or remote_addrs is allowed"),
    invalid("host", 'failed to match pattern "^\\*$|^\\*?[0-9a-zA-Z-._\\[\\]:]+$" with "a b"',
            route(host="a b")),
    invalid("hosts", "expect array to have at least 1 items", route(hosts=[])),
    invalid("remote_addr", NONE, route(remote_addr="127.0.0.33333")),
    invalid("remote_addr", NONE, route(remote_addr="127.0.0.1/33")),
    invalid("remote_addrs", f"failed to validate item 1: {NONE}", route(remote_addrs=[""])),
    invalid("remote_addrs", f"failed to validate item 1: {NONE}", route(remote_addrs=["/16"])),
    invalid("remote_addrs", "expect array to have at least 1 items", route(remote_addrs=[])),
    invalid("uri", "wrong type: expected string, got number", {**route(), "uri": 666}),
    invalid("uri", "string too short, expected at least 1, got 0", route("")),
    invalid("uris", "expect array to have at least 1 items", {"uris": [], "plugins": {}}),
    invalid("uris", "wrong type: expected array, got string", {"uris": "/a", "plugins": {}}),
    invalid("uris", "expected unique items but items 1 and 2 are equal",
            {"uris": ["/a", "/a"], "plugins": {}}),
    refused("routes/1", {"plugins": {}}, "invalid configuration: allOf 1 failed: "
            "value should match only one schema, but matches none"),
    refused("routes/1", {**route(), "uris": ["/b"]}, "invalid configuration: allOf 1 failed: "
            "value should match only one schema, but matches both schemas 1 and 2"),
    invalid("status", ENUM, route(status=3)),
    invalid("priority", "wrong type: expected integer, got string", route(priority="1")),
    invalid("timeout", 'property "read" is required', route(timeout={"connect": 1, "send": 1})),
    invalid("timeout.connect", "expected 0 to be strictly greater than 0",
            route(timeout={"connect": 0, "send": 1, "read": 1})),
    invalid("vars", "wrong type: expected array, got string", route(vars="x")),
    refused("routes/1", route(vars=[["remote_addr", "=", "1.1.1.1"]]),
            "failed to validate the 'vars' expression: invalid operator '='"),
    refused("routes/1", route(vars=[["uri", "nothing", "x"]]),
            "failed to validate the 'vars' expression: invalid operator 'nothing'"),
    refused("routes/1", route(vars=["http_x", "~*", "y"]), "failed to validate the 'vars' "
            "expression: rule should be wrapped inside brackets"),
    admin("PUT", "routes/1", route(vars=[["post_arg.a[.b[*].c", "has", "x"]]), status=400,
          like="failed to validate the 'vars' expression: invalid expression"),
    refused("routes/1", {**route(), "surprise": 1},
            "invalid configuration: additional properties forbidden, found surprise"),
    refused("routes/1", route(plugins={"nope": {}}), "unknown plugin [nope]"),
    refused("routes/1", route(plugins={"echo": "text"}),
            'invalid plugin conf "text" for plugin [echo]'),
    invalid("plugins", "wrong type: expected object, got string", route(plugins="x")),
    refused("routes/1", route(plugins={"api-breaker": {"max_breaker_sec": 60}}),
            "failed to check the configuration of plugin api-breaker err: "
            'property "break_response_code" is required'),
    invalid("enable_websocket", "wrong type: expected boolean, got string",
            route(enable_websocket="yes")),
    admin("PUT", "routes/1", status=400, error="missing configurations"),
    admin("PUT", "routes/1", "{broken", status=400, like='"error_msg":"invalid request body: '),
    admin("PUT", "routes/1", "{broken", status=400, has={"req_body": "{broken"}),
]  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
def test_verbs(bench: Bench, name: str) -> None:
    run(bench, VERBS[name])


@pytest.mark.parametrize("step", REFUSED, ids=lambda step: str(step.expected.get("error"))[:60])
def test_refused(bench: Bench, step: Step) -> None:
    run(bench, [step])


def test_every_known_method(bench: Bench) -> None:
    methods = [
        "GET",
        "POST",
        "PUT",
        "DELETE",
        "PATCH",
        "HEAD",
        "OPTIONS",
        "CONNECT",
        "TRACE",
        "PURGE",
    ]
    run(bench, [put("routes/1", route(methods=methods), has={"value": {"methods": methods}})])


def test_only_plugins_without_an_upstream(bench: Bench) -> None:
    run(
        bench,
        [
            put("routes/1", {"uri": "/x", "plugins": {}}),
            put("routes/2", {"uri": "/y", "plugins": {"echo": {"body": "hi"}}}),
        ],
    )


def test_a_body_of_the_greatest_size(bench: Bench) -> None:
    limit = 1536 * 1024
    big = '{"uri": "/a", "plugins": {}, "desc": "' + "x" * limit + '"}'
    sizes = f"request size {len(big)} is greater than the maximum size {limit} allowed"
    node = "n" * (35 * 1024)
    run(
        bench,
        [
            admin("PUT", "routes/1", big, status=400, error=f"invalid request body: {sizes}"),
            put("routes/1", route(upstream={"type": "roundrobin", "nodes": {node: 1}})),
        ],
    )
