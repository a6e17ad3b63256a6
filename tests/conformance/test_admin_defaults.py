"""Defaults in the answers of the Admin API: what APISIX shows of fields that were left out."""

from __future__ import annotations

from typing import Any

import pytest

from support.conformance import Bench
from support.pki import PKI

NODES = {"127.0.0.1:8080": 1}
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIGKLMNOPQRSTUVWXYZ0123456789"
SHOWN = {
    "hash_on": "vars",
    "nodes": NODES,
    "pass_host": "pass",
    "scheme": "http",
    "type": "roundrobin",
}
UPSTREAM = {"type": "roundrobin", "nodes": NODES}

CASES: list[tuple[str, Any, Any]] = [
    (
        "routes",
        {"uri": "/a", "methods": ["GET"], "upstream": UPSTREAM},
        {"uri": "/a", "methods": ["GET"], "upstream": SHOWN, "priority": 0, "status": 1},
    ),
    ("services", {"upstream": UPSTREAM}, {"upstream": SHOWN}),
    ("services", {}, {}),
    ("upstreams", {"nodes": NODES}, SHOWN),
    ("global_rules", {"plugins": {"proxy-rewrite": {"uri": "/"}}},
     {"plugins": {"proxy-rewrite": {"uri": "/", "use_real_request_uri_unsafe": False}}}),
    ("plugin_configs", {"plugins": {}}, {"plugins": {}}),
    ("plugin_configs", {"plugins": {"gzip": {}}},
     {"plugins": {"gzip": {"types": ["text/html"], "min_length": 20, "comp_level": 1,
                           "http_version": 1.1, "buffers": {"number": 32, "size": 4096}}}}),
    ("plugin_configs", {"plugins": {"brotli": {}}},
     {"plugins": {"brotli": {"types": ["text/html"], "min_length": 20, "comp_level": 6, "mode": 0,
                             "http_version": 1.1, "lgwin": 19, "lgblock": 0}}}),
    ("plugin_configs", {"plugins": {"traffic-split": {"rules": [{}]}}},
     {"plugins": {"traffic-split": {"rules": [{"weighted_upstreams": [{"weight": 1}]}]}}}),
    ("plugin_configs", {"plugins": {"api-breaker": {"break_response_code": 502, "healthy": {}}}},
     {"plugins": {"api-breaker": {"break_response_code": 502, "max_breaker_sec": 300,
                                  "healthy": {"http_statuses": [200], "successes": 3},
                                  "unhealthy": {"http_statuses": [500], "failures": 3}}}}),
    ("plugin_configs", {"plugins": {"request-id": {"range_id": {"length": 7}}}},
     {"plugins": {"request-id": {"header_name": "X-Request-Id", "include_in_response": True,
                                 "range_id": {"length": 7, "char_set": LETTERS},
                                 "algorithm": "uuid"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "sent", "shown"), CASES)
def test_every_answer_has_them(bench: Bench, kind: str, sent: Any, shown: Any) -> None:
    path = f"{kind}/filled"
    try:
        for method, at in (("PUT", path), ("PUT", path), ("PATCH", path), ("GET", path)):
            answer = bench.manage(method, at, None if method == "GET" else sent).json()
            assert _bare(answer["value"]) == {"id": "filled", **shown}, method
        listed = bench.manage("GET", kind).json()["list"]
        assert [_bare(entry["value"]) for entry in listed] == [{"id": "filled", **shown}]
        stored = bench.manage("GET", f"{path}?defaults=false").json()
        assert _bare(stored["value"]) == {"id": "filled", **sent}
    finally:
        bench.clear()


def test_a_new_resource_has_them(bench: Bench) -> None:
    answer = bench.manage("POST", "upstreams", UPSTREAM)
    try:
        assert answer.status_code == 201
        value = _bare(answer.json()["value"])
        assert len(value.pop("id")) == 20
        assert value == SHOWN
    finally:
        bench.clear()


def test_consumers_have_none_but_their_plugins(bench: Bench) -> None:
    try:
        answer = bench.put("consumers", {"username": "jack"})
        assert _bare(answer.json()["value"]) == {"username": "jack"}
        conf = {"key": "a", "secret": "a-secret-long-enough"}
        answer = bench.put("consumers", {"username": "jack", "plugins": {"jwt-auth": conf}})
        shown = answer.json()["value"]["plugins"]["jwt-auth"]
        assert shown.items() >= {**conf, "algorithm": "HS256", "exp": 86400}.items()
    finally:
        bench.clear()


def test_certificates(bench: Bench) -> None:
    pair = PKI().ssl("a.example")
    try:
        value = _bare(bench.put("ssls/1", pair).json()["value"])
        assert (value["type"], value["status"]) == ("server", 1)
        value = _bare(bench.manage("GET", "ssls/1").json()["value"])
        assert set(value) == {"id", "cert", "snis", "type", "status"}
    finally:
        bench.clear()


def test_references_to_keys_are_shown(bench: Bench) -> None:
    pair = {"cert": "$env://CERT", "key": "$env://KEY"}
    more = {"certs": ["$env://CERT2"], "keys": ["$env://KEY2"]}
    try:
        value = bench.put("ssls/1", {"snis": ["a.example"], **pair, **more}).json()["value"]
        assert value.items() >= {**pair, **more}.items()
    finally:
        bench.clear()


def _bare(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if not name.endswith("_time")}
