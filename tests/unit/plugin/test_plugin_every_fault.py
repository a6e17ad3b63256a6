"""All that is wrong with a conf is told at once, each by its field."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.plugin.registry import Registry
from pingsix_asgi.snapshot.check import check_document

REDIS: Any = {"count": 1, "time_window": 1, "policy": "redis"}
CLUSTER = {**REDIS, "policy": "redis-cluster", "redis_cluster_nodes": ["127.0.0.1:7000"]}
SENTINELS = {**REDIS, "policy": "redis-sentinel"}
BAD: Any = [["uri", "=", "/"]]


@pytest.mark.parametrize(
    ("name", "conf", "paths"),
    [
        ("limit-count", REDIS, ["redis_host"]),
        ("limit-count", {**REDIS, "redis_host": 1, "redis_port": "x"}, ["redis_host"]),
        (
            "limit-count",
            {**REDIS, "redis_host": "127.0.0.1", "redis_keepalive_timeout": 1},
            ["redis_keepalive_timeout"],
        ),
        ("limit-count", CLUSTER, ["redis_cluster_name"]),
        ("limit-count", SENTINELS, ["redis_sentinels"]),
        ("basic-auth", {"username": "u"}, ["password"]),
        ("jwt-auth", {"algorithm": "RS256", "secret": "s"}, ["public_key"]),
        (
            "workflow",
            {
                "rules": [
                    {"actions": [["return", {"code": 1}], ["dance", {}]]},
                    {"actions": [["limit-count", {"count": 0, "rejected_code": 1}]]},
                    {"actions": [["limit-count", {"group": "g"}]]},
                ]
            },
            [
                "rules.0.actions.0.code",
                "rules.0.actions.1",
                "rules.1.actions.0.rejected_code",
                "rules.1.actions.0.count",
                "rules.2.actions.0.group",
            ],
        ),
        (
            "workflow",
            {"rules": [{"case": BAD, "actions": [["return", {"code": 403}]]}] * 2},
            ["rules.0.case", "rules.1.case"],
        ),
        (
            "traffic-split",
            {"rules": [{"match": [{"vars": BAD}, {}, {"vars": BAD}]}, {"vars": BAD}]},
            ["rules.0.match.0", "rules.0.match.2", "rules.1.vars"],
        ),
        (
            "multi-auth",
            {
                "auth_plugins": [
                    {"key-auth": {"header": 1, "query": 1}, "cors": {}},
                    {"foo": {}},
                    {
                        "multi-auth": {
                            "auth_plugins": [{"basic-auth": {"password": "p"}}, {"x": {}}]
                        }
                    },
                    {"jwt-auth": {}},
                ]
            },
            [
                "auth_plugins.0.key-auth.header",
                "auth_plugins.0.key-auth.query",
                "auth_plugins.0.cors",
                "auth_plugins.1.foo",
                "auth_plugins.2.multi-auth.auth_plugins.0.basic-auth.username",
                "auth_plugins.2.multi-auth.auth_plugins.1.x",
            ],
        ),
        (
            "key-auth",
            {"header": 1, "query": 1, "_meta": {"priority": "1", "fail": "x"}},
            ["_meta.priority", "_meta.fail", "header", "query"],
        ),
        ("key-auth", {"header": 1, "_meta": {"filter": BAD}}, ["header", "_meta.filter"]),
        (
            "traffic-split",
            {"rules": [{"vars": BAD}], "_meta": {"filter": BAD}},
            ["rules.0.vars", "_meta.filter"],
        ),
    ],
)
def test_every_fault_of_a_conf_names_its_field(
    name: str, conf: dict[str, Any], paths: list[str]
) -> None:
    document = {"uri": "/", "plugins": {name: conf}}
    found = check_document("routes", "1", document, Registry())
    assert [error.path for error in found] == [f"plugins.{name}.{path}" for path in paths]


def test_what_inner_plugins_lack_is_told_in_the_words_of_apisix() -> None:
    conf = {"auth_plugins": [{"basic-auth": {"realm": ""}}, {"key-auth": {"header": 1}}]}
    document = {"uri": "/", "plugins": {"multi-auth": conf}}
    texts = [error.message for error in check_document("routes", "1", document, Registry())]
    lead = "failed to check the configuration of plugin multi-auth err: plugin "
    assert [text.removeprefix(lead).partition(" validation")[0] for text in texts] == [
        'basic-auth check schema failed: property "realm"',
        'key-auth check schema failed: property "header"',
    ]
