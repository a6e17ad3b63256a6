"""What each resource accepts, and in which words it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.model.base import Model, parse
from pingsix_asgi.model.resources import KINDS, json_schema, parse_document
from pingsix_asgi.model.route import Route
from pingsix_asgi.model.upstream import Upstream, split_node
from pingsix_asgi.types import JSON

PEM = "-----BEGIN CERTIFICATE-----\n" + "x" * 128
NODES = {"127.0.0.1:80": 1}
UPSTREAM = {"nodes": NODES}
ROUTE = {"uri": "/", "upstream": UPSTREAM}
COMMON = {
    "id": "a",
    "name": "n",
    "desc": "d",
    "labels": {"team": "x"},
    "create_time": 1,
    "update_time": 2,
}


def parsed(kind: str, document: JSON, id: str = "a") -> Model:
    found = parse_document(kind, id, document)
    assert isinstance(found, Model), [str(error) for error in found]
    return found


def refused(kind: str, document: JSON, id: str = "a") -> dict[str, str]:
    """Return message by path."""
    found = parse_document(kind, id, document)
    assert isinstance(found, list), found
    assert all((error.kind, error.id) == (kind, id) for error in found)
    return {error.path: error.message for error in found}


ACCEPTED: dict[str, tuple[str, JSON]] = {
    "route, everything": (
        "routes",
        {
            **COMMON,
            "uris": ["/a", "/b/*"],
            "methods": ["GET", "PURGE", "X-OWN"],
            "hosts": ["*", "*.example.com", "a-b.c", "[::1]:80"],
            "remote_addrs": ["10.0.0.0/8", "::1", "fe80::/10", "127.0.0.1"],
            "vars": [["arg_x", "==", "1"]],
            "priority": -5,
            "status": 0,
            "enable_websocket": True,
            "plugins": {"x": {}},
            "plugin_config_id": 7,
            "upstream_id": "u.1-_",
            "service_id": 9,
            "timeout": {"connect": 0.5, "send": 1, "read": 2},
        },
    ),
    "route, singular": (
        "routes",
        {"uri": "/", "host": "h", "remote_addr": "1.2.3.4", "plugins": {}},
    ),
    "service, empty as in APISIX": ("services", {}),
    "service, everything": (
        "services",
        {**COMMON, "plugins": {}, "upstream": UPSTREAM, "hosts": ["h"], "enable_websocket": False},
    ),
    "upstream, everything": (
        "upstreams",
        {
            **COMMON,
            "type": "chash",
            "hash_on": "cookie",
            "key": "session",
            "nodes": NODES,
            "scheme": "https",
            "pass_host": "rewrite",
            "upstream_host": "h",
            "retries": 0,
            "retry_timeout": 1.5,
            "timeout": {"connect": 1, "send": 1, "read": 1},
            "keepalive_pool": {"size": 1, "idle_timeout": 0, "requests": 1},
            "tls": {"client_cert": PEM, "client_key": PEM, "verify": True},
            "checks": {
                "active": {
                    "type": "https",
                    "timeout": 0.5,
                    "concurrency": 1,
                    "host": "h",
                    "port": 1,
                    "http_path": "/ping?x=1",
                    "https_verify_certificate": False,
                    "req_headers": ["User-Agent: x"],
                    "healthy": {"interval": 1, "http_statuses": [200], "successes": 254},
                    "unhealthy": {
                        "interval": 2,
                        "http_statuses": [599],
                        "http_failures": 1,
                        "tcp_failures": 1,
                        "timeouts": 1,
                    },
                }
            },
        },
    ),
    "upstream by DNS": ("upstreams", {"service_name": "a.b:80", "discovery_type": "dns"}),
    "upstream without nodes": ("upstreams", {"nodes": []}),
    "chash by consumer needs no key": (
        "upstreams",
        {**UPSTREAM, "type": "chash", "hash_on": "consumer"},
    ),
    "ketama needs no key": ("upstreams", {**UPSTREAM, "type": "ketama"}),
    "vars_combinations takes any text": (
        "upstreams",
        {**UPSTREAM, "type": "chash", "hash_on": "vars_combinations", "key": "$uri$remote_addr"},
    ),
    "global rule": ("global_rules", {"plugins": {}}),
    "plugin config": ("plugin_configs", {**COMMON, "plugins": {"x": {}}}),
    "consumer": ("consumers", {"username": "a", "group_id": 1, "plugins": {}}),
    "credential": ("credentials", {"plugins": {"key-auth": {"key": "k"}}}),
    "consumer group": ("consumer_groups", {"plugins": {}}),
    "metadata": ("plugin_metadata", {"id": "x", "anything": [1]}),
    "ssl": ("ssls", {"cert": PEM, "key": PEM, "snis": ["a.b", "*.c"]}),
    "ssl by reference": (
        "ssls",
        {"cert": "$secret://vault/1/a/c", "key": "$ENV://KEY", "sni": "a.b", "status": 0},
    ),
    "ssl with further pairs and client verification": (
        "ssls",
        {
            "cert": PEM,
            "key": PEM,
            "sni": "a",
            "certs": [PEM],
            "keys": [PEM],
            "client": {"ca": PEM, "depth": 2, "skip_mtls_uri_regex": ["/x"]},
            "ssl_protocols": ["TLSv1.2"],
        },
    ),
    "client ssl needs no names": ("ssls", {"type": "client", "cert": PEM, "key": PEM}),
    "proto": ("protos", {"content": "syntax"}),
}


@pytest.mark.parametrize(("kind", "document"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(kind: str, document: JSON) -> None:
    parsed(kind, document)


def test_a_secret_is_judged_by_its_manager() -> None:
    vault = {"uri": "https://vault:8200", "prefix": "kv/apisix", "token": "t"}
    parsed("secrets", vault, "vault/1")
    assert refused("secrets", vault, "aws/1") == {
        "": "secret manager aws is not supported, only vault is"
    }


SOLE = "value should match only one schema, but matches"
REFUSED: dict[str, tuple[str, JSON, dict[str, str]]] = {
    "not an object": ("routes", [], {"": "wrong type: expected object, got table"}),
    "two forms of a path": (
        "routes",
        {**ROUTE, "uris": ["/"]},
        {"uris": f"allOf 1 failed: {SOLE} both schemas 1 and 2"},
    ),
    "no path": ("routes", {"upstream": UPSTREAM}, {"uri": f"allOf 1 failed: {SOLE} none"}),
    "two forms of a host": (
        "routes",
        {**ROUTE, "host": "a", "hosts": ["b"]},
        {"hosts": "only one of host or hosts is allowed"},
    ),
    "two forms of an address": (
        "routes",
        {**ROUTE, "remote_addr": "::1", "remote_addrs": ["::1"]},
        {"remote_addrs": "only one of remote_addr or remote_addrs is allowed"},
    ),
    "several fields at once, each told": (
        "routes",
        {"uri": 5, "priority": "1", "methods": ["get", "GET", "GET"], "labels": {"a": "b c"}},
        {
            "uri": 'property "uri" validation failed: wrong type: expected string, got number',
            "priority": 'property "priority" validation failed: '
            "wrong type: expected integer, got string",
            "methods.0": 'property "methods" validation failed: failed to validate item 1: '
            "matches none of the enum values",
            "labels.a": 'property "labels" validation failed: '
            'failed to validate a (matching ".*"): failed to match pattern "^\\S+$" with "b c"',
        },
    ),
    "equal items": (
        "routes",
        {**ROUTE, "hosts": ["a", "b", "a"]},
        {
            "hosts": 'property "hosts" validation failed: '
            "expected unique items but items 1 and 3 are equal"
        },
    ),
    "incomplete timeout": (
        "routes",
        {**ROUTE, "timeout": {"connect": 0}},
        {
            "timeout.connect": 'property "timeout" validation failed: property "connect" '
            "validation failed: expected 0 to be strictly greater than 0",
            "timeout.send": 'property "timeout" validation failed: property "send" is required',
            "timeout.read": 'property "timeout" validation failed: property "read" is required',
        },
    ),
    "unknown field": (
        "upstreams",
        {**UPSTREAM, "nope": 1},
        {"nope": "additional properties forbidden, found nope"},
    ),
    "several nodes in a map, each told": (
        "upstreams",
        {"nodes": {"a b:1": 1, "a:99999": 1, "b:1": "x", "c:1": 1}},
        {
            "nodes.a b:1": 'property "nodes" validation failed: node "a b:1": neither a host name '
            "nor an address",
            "nodes.a:99999": "invalid port 99999",
            "nodes.b:1": 'property "nodes" validation failed: node "b:1": wrong type of weight: '
            "expected integer, got string",
        },
    ),
    "several nodes in a list, each told": (
        "upstreams",
        {"nodes": [{"host": "a:0", "weight": 1}, {"host": "b", "port": 0, "weight": 1}]},
        {
            "nodes.0": "invalid port 0",
            "nodes.1.port": 'property "nodes" validation failed: failed to validate item 2: '
            'property "port" validation failed: expected 0 to be at least 1',
        },
    ),
    "nodes and discovery": (
        "upstreams",
        {**UPSTREAM, "service_name": "s", "discovery_type": "dns"},
        {"nodes": f"{SOLE} both schemas 1 and 2"},
    ),
    "neither nodes nor discovery": ("upstreams", {"service_name": "s"}, {"nodes": f"{SOLE} none"}),
    "chash without key": ("upstreams", {**UPSTREAM, "type": "chash"}, {"key": "missing key"}),
    "bad header to hash on": (
        "upstreams",
        {**UPSTREAM, "hash_on": "head", "key": "a b"},
        {"key": 'failed to match pattern "^[a-zA-Z0-9-_]+$" with "a b"'},
    ),
    "rewrite without host": (
        "upstreams",
        {**UPSTREAM, "pass_host": "rewrite"},
        {"upstream_host": "`upstream_host` can't be empty when `pass_host` is `rewrite`"},
    ),
    "half a client certificate": (
        "upstreams",
        {**UPSTREAM, "tls": {"client_cert": PEM}},
        {
            "tls": 'property "tls" validation failed: '
            'failed to validate dependent schema for "client_cert": '
            'property "client_key" is required'
        },
    ),
    "checks without active": (
        "upstreams",
        {**UPSTREAM, "checks": {}},
        {
            "checks": 'property "checks" validation failed: object matches none of the required: '
            '["active"] or ["active","passive"]'
        },
    ),
    "global rule without plugins": (
        "global_rules",
        {},
        {"plugins": 'property "plugins" is required'},
    ),
    "consumer of another name": ("consumers", {"username": "b"}, {"": "wrong username"}),
    "two plugins in a credential": (
        "credentials",
        {"plugins": {"a": {}, "b": {}}},
        {
            "plugins": 'property "plugins" validation failed: '
            "expect object to have at most 1 properties"
        },
    ),
    "server certificate without names": (
        "ssls",
        {"cert": PEM, "key": PEM},
        {"": 'property "snis" is required'},
    ),
    "short certificate": (
        "ssls",
        {"cert": "x", "key": PEM, "sni": "a"},
        {
            "cert": 'property "cert" validation failed: '
            "string too short, expected at least 128, got 1"
        },
    ),
    "unequal further pairs": (
        "ssls",
        {"cert": PEM, "key": PEM, "sni": "a", "certs": [PEM]},
        {"": "mismatched number of certs and keys"},
    ),
}


@pytest.mark.parametrize(("kind", "document", "problems"), REFUSED.values(), ids=REFUSED)
def test_refused(kind: str, document: JSON, problems: dict[str, str]) -> None:
    assert refused(kind, document) == problems


NOT_SUPPORTED = {
    "filter_func": ("routes", {**ROUTE, "filter_func": "function() end"}),
    "script": ("routes", {**ROUTE, "script": "local x = 1"}),
    "script_id": ("routes", {**ROUTE, "script_id": 1}),
    "service script": ("services", {"script": "local x = 1"}),
    "kafka": ("upstreams", {**UPSTREAM, "scheme": "kafka"}),
    "eureka": ("upstreams", {"service_name": "s", "discovery_type": "eureka"}),
    "discovery_args": (
        "upstreams",
        {"service_name": "s", "discovery_type": "dns", "discovery_args": {"namespace_id": "x"}},
    ),
}


@pytest.mark.parametrize("name", NOT_SUPPORTED)
def test_what_has_no_effect_is_refused_by_name(name: str) -> None:
    (path, message), *others = refused(*NOT_SUPPORTED[name]).items()
    assert not others
    assert "not supported" in message
    assert name.split()[-1] in path + message


NODE_FORMS: dict[str, tuple[JSON, list[tuple[str, int | None, int, int]]]] = {
    "map": ({"10.0.0.1:80": 1, "h.x": 0}, [("10.0.0.1", 80, 1, 0), ("h.x", None, 0, 0)]),
    "map, IPv6": ({"[::1]:9": 2, "fe80::1": 1}, [("::1", 9, 2, 0), ("fe80::1", None, 1, 0)]),
    "map, bare bracket": ({"[::1]": 2}, [("::1", None, 2, 0)]),
    "map, wrapped app": ({"@app": 3, "@app:1": 1}, [("@app", None, 3, 0), ("@app", 1, 1, 0)]),
    "list": (
        [{"host": "h", "port": 1, "weight": 2, "priority": -1, "metadata": {"a": 1}}],
        [("h", 1, 2, -1)],
    ),
    "list, brackets": ([{"host": "[::1]", "weight": 1}], [("::1", None, 1, 0)]),
    "empty map": ({}, []),
}


@pytest.mark.parametrize(("nodes", "expected"), NODE_FORMS.values(), ids=NODE_FORMS)
def test_node_forms(nodes: JSON, expected: list[Any]) -> None:
    model = Upstream.model_validate({"nodes": nodes})
    found = [(n.host, n.port, n.weight, n.priority) for n in model.nodes or ()]
    assert found == expected


@pytest.mark.parametrize(
    "nodes",
    [
        {"h:0": 1},
        {"h:65536": 1},
        {"h:x": 1},
        {"h:": 1},
        {":80": 1},
        {"[::1": 1},
        {"[::1]x": 1},
        {"h": -1},
        {"h": "1"},
        {"h": True},
        {"h": 1.5},
        {"a b": 1},
        {"a/b": 1},
        [{"host": "h"}],
        [{"weight": 1}],
        [{"host": "h", "port": 0, "weight": 1}],
        [{"host": "h", "weight": -1}],
        ["h"],
        "h",
    ],
)
def test_bad_nodes_are_named(nodes: JSON) -> None:
    problems = refused("upstreams", {"nodes": nodes})
    assert all(path.startswith("nodes") for path in problems)


def test_a_bad_key_of_the_map_form_is_in_the_text() -> None:
    assert 'node "h:x": expected a port' in refused("upstreams", {"nodes": {"h:x": 1}})["nodes.h:x"]


def test_a_hint_is_told_with_the_error_but_is_no_part_of_its_message() -> None:
    found = parse_document("routes", "a", {**ROUTE, "remote_addr": "10.0.0.0/33"})
    assert isinstance(found, list)
    (error,) = found
    text = "object matches none of the required"
    assert error.message == f'property "remote_addr" validation failed: {text}'
    hint = '"10.0.0.0/33" is neither an IP address nor a CIDR block'
    assert str(error).endswith(f"{text} ({hint})")


@pytest.mark.parametrize("text", ["", "[]", "[::1]:", "a:b:1:c]"])
def test_split_node_refuses(text: str) -> None:
    try:
        host, port = split_node(text)
    except ValueError:
        return
    assert host == text
    assert port is None


@pytest.mark.parametrize(("id", "is_good"), [(1, True), ("a-_.Z9", True), (0, False)])
def test_ids(id: JSON, is_good: bool) -> None:
    found = parse_document("routes", "x", {**ROUTE, "service_id": id})
    assert isinstance(found, Route) is is_good
    if isinstance(found, Route):
        assert found.service_id == str(id)


@pytest.mark.parametrize("id", ["", "a/b", "a b", "x" * 65, "é"])
def test_an_id_in_a_key_is_judged(id: str) -> None:
    assert refused("routes", ROUTE, id) == {
        "id": 'property "id" validation failed: object matches none of the required'
    }


def test_head_is_read_as_header() -> None:
    model = Upstream.model_validate({**UPSTREAM, "hash_on": "head", "key": "x"})
    assert model.hash_on == "header"


def test_models_are_frozen() -> None:
    model = parsed("routes", ROUTE)
    with pytest.raises(ValueError, match="frozen"):
        model.uri = "/x"  # type: ignore[attr-defined]  # that is the point


@pytest.mark.parametrize("kind", KINDS)
def test_json_schema(kind: str) -> None:
    schema = json_schema(kind, "vault")
    assert schema["type"] == "object"
    assert schema["properties"]


def test_a_client_key_may_be_kept_elsewhere() -> None:
    def key(text: str) -> Upstream:
        tls = {"client_cert": "c" * 128, "client_key": text}
        return parse(Upstream, {"scheme": "https", "nodes": {"a:1": 1}, "tls": tls})

    assert key("$env://KEY").tls is not None
    with pytest.raises(SchemaError, match="string too short, expected at least 64, got 5"):
        key("short")
