"""Upstreams in the Admin API, alone and inside routes: forms of nodes, hashing, checks, TLS."""

from __future__ import annotations

from typing import Any

import pytest

from support.conformance import Bench
from support.conformance_core import (
    Step,
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
HASH_VARS = (
    "^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|hostname"
    "|mqtt_client_id)|arg_[0-9a-zA-z_-]+)$"
)

WARM_UP = {"slow_start_time_seconds": 9, "min_weight_percent": 1}


def upstream(**fields: Any) -> dict[str, Any]:
    return {"type": "roundrobin", "nodes": {"127.0.0.1:8080": 1}, **fields}


def invalid(field: str, text: str, body: Any) -> list[Step]:
    """Refused alone, and inside a route with the name of the field before."""
    chain = "".join(f'property "{name}" validation failed: ' for name in field.split(".") if name)
    inside = f'property "upstream" validation failed: {chain}{text}'
    return [
        refused("upstreams/1", body, f"invalid configuration: {chain}{text}"),
        refused("routes/1", route(upstream=body), f"invalid configuration: {inside}"),
    ]


def both(body: Any, error: str) -> list[Step]:
    """Refused in the same words alone and inside a route and a service."""
    return [
        refused("upstreams/1", body, error),
        refused("routes/1", route(upstream=body), error),
        refused("services/1", {"upstream": body}, error),
    ]


VERBS: dict[str, list[Step]] = {
    "put, get, patch, delete": [
        put("upstreams/1", upstream(desc="new"), status=201, has={"key": "/apisix/upstreams/1"}),
        put("upstreams", {"id": 1, **upstream()}, status=200, has={"value": {"id": 1}}),
        get("upstreams/1", has={"value": upstream()}),
        patch("upstreams/1", {"nodes": {"127.0.0.1:8081": 3, "127.0.0.1:8080": None}},
              has={"value": {"nodes": {"127.0.0.1:8081": 3}}}, unlike=":8080"),
        patch("upstreams/1/nodes", {"127.0.0.1:8082": 1}, unlike=":8081"),
        patch("upstreams/1/labels", {"env": "x"}, has={"value": {"labels": {"env": "x"}}}),
        patch("upstreams/1/retries", 2, has={"value": {"retries": 2}}),
        delete("upstreams/1", document={"deleted": "1", "key": "/apisix/upstreams/1"}),
        delete("upstreams/1", status=404),
    ],
    "post": [
        post("upstreams", upstream(), has={"value": upstream()}),
        refused("upstreams/1", upstream(), "wrong upstream id, do not need it", "POST"),
        refused("upstreams", {"id": 1, **upstream()}, "wrong upstream id, do not need it", "POST"),
        refused("upstreams/1", {"id": 3, **upstream()}, "wrong upstream id"),
        refused("upstreams/invalid_id$", upstream(),
                f'invalid configuration: property "id" validation failed: {NONE}'),
        refused("upstreams", {"id": "invalid_id$", **upstream()},
                f'invalid configuration: property "id" validation failed: {NONE}'),
    ],
    "forms of nodes": [
        put("upstreams/1", upstream(nodes={})),
        put("upstreams/1", upstream(nodes=[])),
        put("upstreams/1", upstream(nodes={"127.0.0.1": 1, "[::1]:80": 2, "a.example:8080": 0})),
        put("upstreams/1", upstream(nodes=[{"host": "a.example", "port": 80, "weight": 1}])),
        put("upstreams/1", upstream(nodes=[{"host": "a_b.example", "weight": 0, "priority": -1,
                                            "metadata": {"any": ["thing"]}}])),
        put("upstreams/1", upstream(nodes=[{"host": "[::1]", "port": 80, "weight": 1}])),
        put("upstreams/1", {"nodes": {"127.0.0.1:80": 1}}),
    ],
    "every kind of balancer": [
        put("upstreams/1", upstream(type="least_conn")),
        put("upstreams/1", upstream(type="ewma")),
        put("upstreams/1", upstream(type="chash", key="remote_addr")),
        put("upstreams/1", upstream(type="chash", key="arg_device-id")),
        put("upstreams/1", upstream(type="chash", hash_on="consumer")),
        put("upstreams/1", upstream(type="chash", hash_on="header", key="X-Session-Id")),
        put("upstreams/1", upstream(type="chash", hash_on="cookie", key="sid")),
        put("upstreams/1", upstream(type="chash", hash_on="vars_combinations",
                                    key="$request_uri$remote_addr")),
    ],
    "options": [
        put("upstreams/1", upstream(retries=0, retry_timeout=0.5, scheme="https",
                                    timeout={"connect": 0.5, "send": 6, "read": 6.5})),
        put("upstreams/1", upstream(pass_host="rewrite", upstream_host="a.example:8080")),
        put("upstreams/1", upstream(pass_host="node")),
        put("upstreams/1", upstream(keepalive_pool={"size": 4, "idle_timeout": 8, "requests": 16})),
        put("upstreams/1", upstream(keepalive_pool={"idle_timeout": 0})),
        put("upstreams/1", upstream(scheme="https", tls={"verify": False})),
        put("upstreams/1", upstream(warm_up_conf=WARM_UP), has={"value": {"warm_up_conf": {
            **WARM_UP, "interval": 1, "aggression": 1, "startup_grace_period_seconds": 0}}}),
    ],
    "it is in use": [
        put("upstreams/1", upstream()),
        put("services/2", {"upstream_id": 1}),
        refused("upstreams/1", None,
                "can not delete this upstream, service [2] is still using it now", "DELETE"),
        put("routes/3", route(upstream=None, upstream_id="1")),
        refused("upstreams/1", None,
                "can not delete this upstream, route [3] is still using it now", "DELETE"),
        refused("upstreams/1?force=anything", None,
                "can not delete this upstream, route [3] is still using it now", "DELETE"),
        delete("upstreams/1?force=true"),
    ],
}  # fmt: skip


def _split(**fields: Any) -> dict[str, Any]:
    weighted = [{"upstream_id": 1, "weight": 1}, {"weight": 1}]
    return {"plugins": {"traffic-split": {"rules": [{"weighted_upstreams": weighted}]}}, **fields}


@pytest.mark.parametrize(
    ("path", "body", "who"),
    [
        ("routes/1", route(**_split()), "route [1]"),
        ("services/1", _split(), "service [1]"),
        ("global_rules/1", _split(), "global_rules [1]"),
        ("plugin_configs/1", _split(), "plugin_config [1]"),
        ("consumer_groups/1", _split(), "consumer_group [1]"),
        ("consumers/jack", _split(username="jack"), "consumer [jack]"),
    ],
)
def test_in_use_by_a_plugin(bench: Bench, path: str, body: Any, who: str) -> None:
    error = f"can not delete this upstream, plugin in {who} is still using it now"
    steps = [
        put("upstreams/1", upstream()),
        put(path, body),
        refused("upstreams/1", None, error, "DELETE"),
        delete(path),
        delete("upstreams/1"),
    ]
    run(bench, steps)


REFUSED: list[list[Step]] = [
    invalid("", "additional properties forbidden, found surprise", upstream(surprise=1)),
    invalid("type", "matches none of the enum values", upstream(type="invalid_type")),
    invalid("nodes", NONE, upstream(nodes={"127.0.0.1:8080": "1"})),
    invalid("nodes", NONE, upstream(nodes={"127.0.0.1:8080": -100})),
    invalid("nodes", NONE, upstream(nodes=["127.0.0.1"])),
    invalid("nodes", NONE, upstream(nodes="127.0.0.1:80")),
    invalid("nodes", NONE, upstream(nodes=[{"host": "127.0.0.1", "port": 80}])),
    invalid("nodes", NONE, upstream(nodes=[{"port": 80, "weight": 1}])),
    invalid("nodes", NONE, upstream(nodes=[{"host": "a", "port": 65536, "weight": 1}])),
    invalid("nodes", NONE, upstream(nodes=[{"host": "a", "port": 0, "weight": 1}])),
    invalid("nodes", NONE, upstream(nodes=[{"host": "a", "port": 80, "weight": "1"}])),
    invalid("nodes", NONE, upstream(nodes=[{"host": "a", "port": 80, "weight": -100}])),
    invalid("nodes", NONE, upstream(nodes=[{"host": "a/b", "port": 80, "weight": 1}])),
    both(upstream(nodes={"127.0.0.1:65536": 1}), "invalid port 65536"),
    both(upstream(nodes={"127.0.0.1:0": 1}), "invalid port 0"),
    invalid("", "value should match only one schema, but matches none", {"type": "roundrobin"}),
    both(upstream(type="chash"), "missing key"),
    both(upstream(type="chash", hash_on="header"), "missing key"),
    both(upstream(type="chash", hash_on="cookie"), "missing key"),
    both(upstream(type="chash", hash_on="vars_combinations"), "missing key"),
    both(upstream(type="chash", key="not_support"),
         f'invalid configuration: failed to match pattern "{HASH_VARS}" with "not_support"'),
    both(upstream(type="chash", hash_on="header", key="a b"),
         'invalid configuration: failed to match pattern "^[a-zA-Z0-9-_]+$" with "a b"'),
    both(upstream(type="chash", hash_on="cookie", key="a$"),
         'invalid configuration: failed to match pattern "^[a-zA-Z0-9-_]+$" with "a$"'),
    invalid("hash_on", "matches none of the enum values", upstream(hash_on="aabbcc", key="uri")),
    invalid("retries", "expected -1 to be at least 0", upstream(retries=-1)),
    invalid("retry_timeout", "expected -1 to be at least 0", upstream(retry_timeout=-1)),
    invalid("scheme", "matches none of the enum values", upstream(scheme="ftp")),
    invalid("pass_host", "matches none of the enum values", upstream(pass_host="other")),
    both(upstream(pass_host="rewrite"),
         "`upstream_host` can't be empty when `pass_host` is `rewrite`"),
    invalid("timeout", 'property "send" is required', upstream(timeout={"connect": 1, "read": 1})),
    invalid("timeout.read", "expected 0 to be strictly greater than 0",
            upstream(timeout={"connect": 1, "send": 1, "read": 0})),
    both(upstream(upstream_host=None, pass_host="rewrite"),
         "`upstream_host` can't be empty when `pass_host` is `rewrite`"),
    invalid("tls", 'failed to validate dependent schema for "client_cert": '
            'property "client_key" is required',
            upstream(scheme="https", tls={"client_cert": "x" * 128})),
    invalid("tls.client_cert", "string too short, expected at least 128, got 1",
            upstream(scheme="https", tls={"client_cert": "x", "client_key": "y" * 128})),
    invalid("keepalive_pool.size", "expected 0 to be at least 1",
            upstream(keepalive_pool={"size": 0})),
    invalid("warm_up_conf", 'property "slow_start_time_seconds" is required',
            upstream(warm_up_conf={"min_weight_percent": 1})),
    invalid("warm_up_conf", 'property "min_weight_percent" is required',
            upstream(warm_up_conf={"slow_start_time_seconds": 9})),
    invalid("warm_up_conf.min_weight_percent", "expected 0 to be at least 1",
            upstream(warm_up_conf={"slow_start_time_seconds": 9, "min_weight_percent": 0})),
    invalid("warm_up_conf", "additional properties forbidden, found other",
            upstream(warm_up_conf={"slow_start_time_seconds": 9, "min_weight_percent": 1,
                                   "other": 1})),
    both(upstream(type="chash", key="uri", warm_up_conf=WARM_UP),
         "warm_up_conf is only supported by the roundrobin upstream type"),
    both(upstream(warm_up_conf={**WARM_UP, "interval": 10}),
         "warm_up_conf.interval can't be greater than warm_up_conf.slow_start_time_seconds"),
    both(upstream(nodes=[{"host": "a", "port": 1, "weight": 1, "priority": n} for n in (0, 1)],
                  warm_up_conf=WARM_UP),
         "warm_up_conf doesn't support an upstream with nodes of different priorities"),
    invalid("labels", 'failed to validate env (matching ".*"): '
            "wrong type: expected string, got table", upstream(labels={"env": ["a"]})),
    invalid("checks", f'{NONE}: ["active"] or ["active","passive"]',
            upstream(checks={"passive": {"unhealthy": {"http_statuses": [500]}}})),
    invalid("checks", "additional properties forbidden, found other",
            upstream(checks={"active": {}, "other": 1})),
    invalid("checks.active.healthy.successes", "expected 255 to be at most 254",
            upstream(checks={"active": {"healthy": {"successes": 255}}})),
    invalid("checks.active.healthy.successes", "expected 0 to be at least 1",
            upstream(checks={"active": {"healthy": {"successes": 0}}})),
    invalid("checks.active.type", "matches none of the enum values",
            upstream(checks={"active": {"type": "udp"}})),
    invalid("checks.active.healthy.http_statuses",
            "expected unique items but items 1 and 2 are equal",
            upstream(checks={"active": {"healthy": {"http_statuses": [200, 200]}}})),
    invalid("checks.active.unhealthy.http_failures", "wrong type: expected integer, got number",
            upstream(checks={"active": {"unhealthy": {"http_failures": 3.1}}})),
    invalid("checks.active.req_headers",
            "failed to validate item 2: wrong type: expected string, got number",
            upstream(checks={"active": {"req_headers": ["User-Agent: x", 2233]}})),
    invalid("checks.passive.unhealthy.http_statuses",
            "failed to validate item 2: expected 600 to be at most 599",
            upstream(checks={"passive": {"unhealthy": {"http_statuses": [500, 600]}}})),
]  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
def test_verbs(bench: Bench, name: str) -> None:
    run(bench, VERBS[name])


@pytest.mark.parametrize("steps", REFUSED, ids=lambda steps: str(steps[0].expected["error"])[-60:])
def test_refused(bench: Bench, steps: list[Step]) -> None:
    run(bench, steps)


CHECKS: dict[str, Any] = {
    "active": {"active": {"http_path": "/status", "host": "foo.com",
                          "healthy": {"interval": 2, "successes": 1},
                          "unhealthy": {"interval": 1, "http_failures": 2}}},
    "with a decimal timeout": {"active": {"timeout": 1.01, "http_path": "/status"}},
    "with headers": {"active": {"req_headers": ["User-Agent: curl/7.29.0", "Accept: */*"]}},
    "another port and type": {"active": {"type": "tcp", "port": 9999}},
    "all options": {"active": {"type": "https", "concurrency": 2, "https_verify_certificate": False,
                               "http_method": "POST", "http_req_body": "x"}},
    "with passive": {"active": {"http_path": "/status"},
                     "passive": {"healthy": {"http_statuses": [200, 201], "successes": 1},
                                 "unhealthy": {"http_statuses": [500], "http_failures": 2}}},
    "passive off": {"active": {}, "passive": {"type": "tcp", "healthy": {"successes": 0},
                                              "unhealthy": {"tcp_failures": 0, "timeouts": 0}}},
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_checks_are_kept_as_sent(bench: Bench, name: str) -> None:
    body = upstream(checks=CHECKS[name])
    run(
        bench,
        [put("upstreams/1", body, has={"value": body}), put("routes/1", route(upstream=body))],
    )


def test_client_certificates_are_looked_at(bench: Bench) -> None:
    tls = {"client_cert": "x" * 128, "client_key": "y" * 128}
    answer = bench.put("upstreams/1", upstream(scheme="https", tls=tls))
    assert answer.status_code == 400
    assert answer.json()["error_msg"].startswith("failed to parse cert")
