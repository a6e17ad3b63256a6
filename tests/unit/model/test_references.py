"""Which resource names which."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.model.resources import Reference, check_references, references
from pingsix_asgi.types import JSON

SPLIT = {
    "traffic-split": {
        "rules": [
            {"weighted_upstreams": [{"upstream_id": 2, "weight": 1}, {"weight": 1}]},
            {"weighted_upstreams": [{"upstream_id": "x"}, {"upstream": {"nodes": {}}}]},
        ]
    }
}
RESOURCES: dict[str, dict[str, Any]] = {
    "routes": {"r": {"service_id": 1, "upstream_id": "u", "plugin_config_id": "p"}},
    "services": {"1": {"upstream_id": "u"}},
    "upstreams": {"u": {}, "2": {}},
    "plugin_configs": {"p": {"plugins": SPLIT}},
    "consumers": {"jack": {"group_id": "g"}},
    "consumer_groups": {"g": {}},
    "credentials": {"jack/one": {}},
    "global_rules": {"all": {"plugins": SPLIT}},
}


def test_references_of_a_route() -> None:
    assert references("routes", "r", RESOURCES["routes"]["r"]) == [
        Reference("service_id", "services", "1"),
        Reference("upstream_id", "upstreams", "u"),
        Reference("plugin_config_id", "plugin_configs", "p"),
    ]


def test_traffic_split_refers_to_upstreams_wherever_it_is() -> None:
    at = "plugins.traffic-split.rules"
    assert references("global_rules", "all", {"plugins": SPLIT}) == [
        Reference(f"{at}.0.weighted_upstreams.0.upstream_id", "upstreams", "2"),
        Reference(f"{at}.1.weighted_upstreams.0.upstream_id", "upstreams", "x"),
    ]


def test_what_is_missing_is_told_in_the_words_of_apisix() -> None:
    found = check_references({"upstreams": {}}, "routes", "9", {"upstream_id": 1, "service_id": 2})
    assert [(error.kind, error.id, error.path, error.message) for error in found] == [
        (
            "routes",
            "9",
            "service_id",
            "failed to fetch service info by service id [2], response code: 404",
        ),
        (
            "routes",
            "9",
            "upstream_id",
            "failed to fetch upstream info by upstream id [1], response code: 404",
        ),
    ]


@pytest.mark.parametrize(
    "document",
    [None, 5, [], {"plugins": []}, {"plugins": {"traffic-split": 1}}, {"upstream_id": {}}],
)
def test_documents_of_any_shape_are_looked_through(document: JSON) -> None:
    assert references("routes", "1", document) == []


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("upstreams", "tls.client_cert_id"),
        ("routes", "upstream.tls.client_cert_id"),
        ("services", "upstream.tls.client_cert_id"),
    ],
)
def test_a_certificate_must_be_one_to_show_to_upstreams(kind: str, path: str) -> None:
    upstream = {"tls": {"client_cert_id": 7}}
    document = upstream if kind == "upstreams" else {"upstream": upstream}
    assert references(kind, "1", document) == [Reference(path, "ssls", "7")]
    assert check_references({"ssls": {"7": {"type": "client"}}}, kind, "1", document) == []
    for ssls in ({"7": {}}, {"7": {"type": "server"}}, {"7": None}):
        (error,) = check_references({"ssls": ssls}, kind, "1", document)
        assert error.message == "failed to fetch ssl info by ssl id [7], wrong ssl type"


def test_a_boolean_is_no_id() -> None:
    assert references("routes", "1", {"upstream_id": True}) == []
