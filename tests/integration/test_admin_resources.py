"""Resources through the Admin API: verbs, statuses, bodies and error texts of APISIX v3."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi.config.etcd import EtcdStore
from pingsix_asgi.config.etcd_client import EtcdClient, EtcdOptions
from pingsix_asgi.config.layout import decode_json
from pingsix_asgi.config.store import Put
from support.admin_client import KEY, Admin, admin_over
from support.etcd_server import EtcdServer

UPSTREAM = {"nodes": {"127.0.0.1:1980": 1}, "type": "roundrobin"}
ROUTE = {"uri": "/hello", "upstream": UPSTREAM}


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    async with admin_over(tmp_path) as admin:
        yield admin


PUTS: list[tuple[str, str, Any, Any]] = [
    ("routes", "/1", ROUTE, {**ROUTE, "id": "1"}),
    ("services", "/s.1_x-", {"upstream": UPSTREAM}, {"upstream": UPSTREAM, "id": "s.1_x-"}),
    ("upstreams", "/1", UPSTREAM, {**UPSTREAM, "id": "1"}),
    (
        "global_rules",
        "/1",
        {"plugins": {"stamp": {"count": 1}}},
        {"id": "1", "plugins": {"stamp": {"count": 1}}},
    ),
    ("plugin_configs", "/1", {"plugins": {}}, {"id": "1", "plugins": {}}),
    ("consumer_groups", "/1", {"plugins": {}}, {"id": "1", "plugins": {}}),
    ("consumers", "", {"username": "jack"}, {"username": "jack"}),
    (
        "protos",
        "/1",
        {"content": 'syntax = "proto3";'},
        {"id": "1", "content": 'syntax = "proto3";'},
    ),
    (
        "secrets",
        "/vault/1",
        {"uri": "http://127.0.0.1:8200", "prefix": "kv", "token": "t"},
        {"id": "vault/1", "uri": "http://127.0.0.1:8200", "prefix": "kv", "token": "t"},
    ),
    ("plugin_metadata", "/stamp", {"count": 1}, {"id": "stamp", "count": 1}),
]


@pytest.mark.parametrize(("kind", "path", "sent", "shown"), PUTS, ids=[case[0] for case in PUTS])
async def test_life_of_a_resource(
    admin: Admin, kind: str, path: str, sent: Any, shown: Any
) -> None:
    at = path or "/jack"
    key = f"/apisix/{kind}{at}"
    assert await admin("GET", f"/{kind}{at}") == (404, {"message": "Key not found"})
    assert await admin("GET", f"/{kind}") == (200, {"total": 0, "list": []})

    status, created = await admin("PUT", f"/{kind}{path}", sent)
    assert (status, set(created)) == (201, {"key", "value"}), created
    assert created["key"] == key
    times = {name: created["value"].pop(name) for name in ("create_time", "update_time")}
    assert all(isinstance(value, int) for value in times.values())
    assert created["value"].keys() >= shown.keys()
    _, bare = await admin("GET", f"/{kind}{at}?defaults=false")
    assert bare["value"] == {**shown, **times}

    status, again = await admin("PUT", f"/{kind}{path}", sent)
    assert status == 200
    assert again["value"]["create_time"] == times["create_time"]

    status, found = await admin("GET", f"/{kind}{at}")
    assert status == 200
    assert set(found) == {"key", "value", "createdIndex", "modifiedIndex"}
    assert found["modifiedIndex"] > found["createdIndex"] > 0
    assert await admin("GET", f"/{kind}") == (200, {"total": 1, "list": [found]})

    assert await admin("DELETE", f"/{kind}{at}") == (200, {"deleted": "1", "key": key})
    assert await admin("DELETE", f"/{kind}{at}") == (404, {"message": "Key not found"})


async def test_defaults_are_shown_as_apisix_shows_them(admin: Admin) -> None:
    checks = {"active": {"http_path": "/s", "healthy": {}}, "passive": {"type": "tcp"}}
    nodes = [{"host": "a.example", "port": 80, "weight": 1}]
    upstream = {"nodes": nodes, "checks": checks, "keepalive_pool": {"size": 4}}
    _, found = await admin("PUT", "/routes/1", {"uri": "/a", "upstream": upstream})
    value = found["value"]
    assert (value["priority"], value["status"]) == (0, 1)
    assert value["upstream"] == {
        "type": "roundrobin",
        "nodes": [{"host": "a.example", "port": 80, "weight": 1, "priority": 0}],
        "hash_on": "vars",
        "scheme": "http",
        "pass_host": "pass",
        "keepalive_pool": {"size": 4, "idle_timeout": 60, "requests": 1000},
        "checks": {
            "active": {
                "type": "http",
                "timeout": 1,
                "concurrency": 10,
                "http_path": "/s",
                "http_method": "GET",
                "http_req_body": "",
                "https_verify_certificate": True,
                "healthy": {"interval": 1, "http_statuses": [200, 302], "successes": 2},
            },
            "passive": {"type": "tcp"},
        },
    }
    assert (await admin("GET", "/routes/1"))[1]["value"] == value
    assert (await admin("PUT", "/routes/1", _sendable(value)))[0] == 200
    assert (await admin("GET", "/routes/1"))[1]["value"]["upstream"] == value["upstream"]


async def test_defaults_of_plugins_are_shown_but_for_those_apisix_does_not_have(
    admin: Admin,
) -> None:
    limit = {"count": 1, "time_window": 60}
    plugins = {"limit-count": limit, "ip-restriction": {"whitelist": ["::1"]}, "nothing": {}}
    status, _ = await admin("PUT", "/global_rules/1", {"plugins": plugins})
    assert status == 400
    del plugins["nothing"]
    _, found = await admin("PUT", "/global_rules/1", {"plugins": plugins})
    shown = found["value"]["plugins"]
    assert shown["limit-count"].items() >= {**limit, "policy": "local", "key_type": "var"}.items()
    assert not [name for name in shown["limit-count"] if name.startswith("redis_")]
    assert set(shown["ip-restriction"]) == {"whitelist", "message", "response_code"}


def _sendable(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if not key.endswith("_time")}


async def test_what_is_stored_is_what_was_sent(admin: Admin) -> None:
    await admin("PUT", "/routes/1", ROUTE)
    item = await admin.store.get("/apisix/routes/1")
    assert item is not None
    stored = decode_json(item.value)
    del stored["create_time"], stored["update_time"]
    assert stored == {**ROUTE, "id": "1"}


@pytest.mark.parametrize("kind", ["routes", "services", "upstreams", "protos"])
async def test_post_makes_an_id_from_the_revision(admin: Admin, kind: str) -> None:
    documents = {kind: sent for kind, _, sent, _ in PUTS}
    status, first = await admin("POST", f"/{kind}", documents[kind])
    assert status == 201
    id = first["value"]["id"]
    assert len(id) == 20
    assert id.isdigit()
    assert first["key"] == f"/apisix/{kind}/{id}"
    _, second = await admin("POST", f"/{kind}", documents[kind])
    assert second["value"]["id"] > id
    assert (await admin("GET", f"/{kind}"))[1]["total"] == 2


@pytest.mark.parametrize(
    ("method", "kind", "label"),
    [
        ("POST", "global_rules", "global rule"),
        ("POST", "plugin_configs", "plugin config"),
        ("POST", "consumer_groups", "consumer group"),
        ("POST", "consumers", "consumer"),
        ("POST", "plugin_metadata", "plugin_metadata"),
        ("POST", "secrets", "secret"),
        ("PATCH", "consumers", "consumer"),
        ("PATCH", "protos", "proto"),
        ("PATCH", "plugin_metadata", "plugin_metadata"),
    ],
)
async def test_verbs_a_kind_does_not_have(admin: Admin, method: str, kind: str, label: str) -> None:
    path = f"/{kind}/1" if method == "PATCH" else f"/{kind}"
    assert await admin.refused(method, path, {}) == (
        405,
        f"not supported `{method}` method for {label}",
    )


INVALID = "invalid configuration: "
REFUSALS: list[tuple[str, str, Any, int, str]] = [
    ("PUT", "/routes/1", ..., 400, "missing configurations"),
    ("PUT", "/routes", ROUTE, 400, "missing route id"),
    ("PUT", "/global_rules", {"plugins": {}}, 400, "missing global rule id"),
    ("PUT", "/routes/1", {**ROUTE, "id": "2"}, 400, "wrong route id"),
    ("POST", "/routes/1", ROUTE, 400, "wrong route id, do not need it"),
    ("POST", "/routes", {**ROUTE, "id": "1"}, 400, "wrong route id, do not need it"),
    ("PUT", "/consumers/jack", {"username": "jill"}, 400, "wrong username"),
    ("PUT", "/consumers", {}, 400, INVALID + 'property "username" is required'),
    (
        "PUT",
        "/routes/1",
        {**ROUTE, "create_time": 1},
        400,
        "the property is forbidden:  create_time",
    ),
    (
        "POST",
        "/routes",
        {"uri": "/", "upstream": {**UPSTREAM, "update_time": 1}},
        400,
        "the property is forbidden:  upstream.update_time",
    ),
    (
        "PUT",
        "/routes/1",
        {"uri": "/", "plugins": {"x": {"create_time": 1}}},
        400,
        "the property is forbidden:  plugins.x.create_time",
    ),
    ("PUT", "/routes/1", {"uri": "/", "plugins": {"nope": {}}}, 400, "unknown plugin [nope]"),
    (
        "PUT",
        "/routes/1",
        {"uri": "/", "plugins": {"stamp": {}}},
        400,
        'failed to check the configuration of plugin stamp err: property "count" is required',
    ),
    (
        "PUT",
        "/routes/1",
        {"uri": "/", "upstream_id": "9"},
        400,
        "failed to fetch upstream info by upstream id [9], response code: 404",
    ),
    (
        "PUT",
        "/routes/1",
        {"uri": "/", "service_id": 9},
        400,
        "failed to fetch service info by service id [9], response code: 404",
    ),
    (
        "PUT",
        "/routes/1",
        {**ROUTE, "plugin_config_id": "9"},
        400,
        "failed to fetch plugin config info by plugin config id [9], response code: 404",
    ),
    (
        "PUT",
        "/consumers",
        {"username": "jack", "group_id": "9"},
        400,
        "failed to fetch consumer group info by consumer group id [9], response code: 404",
    ),
    ("PUT", "/consumers/jack/credentials/1", {"plugins": {}}, 404, "consumer not found"),
    ("PUT", "/consumers/jack/credentials", {}, 400, "missing credential id"),
    ("PUT", "/secrets/vault", {}, 400, "missing secret id"),
    ("PUT", "/plugin_metadata", {}, 400, "missing plugin name"),
    ("PUT", "/plugin_metadata/nope", {}, 400, "invalid plugin name"),
    ("PATCH", "/routes/1", ..., 400, "missing new configuration"),
    ("PATCH", "/routes/1", [1], 400, "invalid configuration"),
    ("PATCH", "/routes", {}, 400, "missing route id"),
    ("DELETE", "/routes", ..., 400, "missing route id"),
    ("PUT", "/routes/1?ttl=x", ROUTE, 400, "invalid argument ttl: should be a number"),
    ("PUT", "/routes/1?ttl=-1", ROUTE, 400, "invalid argument ttl: should be a number"),
    ("PUT", "/routes/1?ttl=nan", ROUTE, 400, "invalid argument ttl: should be a number"),
    ("GET", "/nothing", ..., 404, "Unsupported resource type: nothing"),
    ("GET", "/credentials/jack/1", ..., 404, "Unsupported resource type: credentials"),
    ("TRACE", "/routes", ..., 404, "not found"),
    (
        "PUT",
        "/stream_routes/1",
        {},
        400,
        "stream mode is disabled, can not add stream routes",
    ),
]


@pytest.mark.parametrize(
    ("method", "path", "document", "status", "text"),
    REFUSALS,
    ids=[f"{case[0]} {case[1]}: {case[4][:40]}" for case in REFUSALS],
)
async def test_refusals(
    admin: Admin, method: str, path: str, document: Any, status: int, text: str
) -> None:
    assert await admin.refused(method, path, document) == (status, text)
    listing = await admin.store.list("/apisix/")
    assert not listing.items


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("routes", {"uri": 5, "upstream": UPSTREAM}),
        ("routes", {"uri": "/", "unknown": 1, "upstream": UPSTREAM}),
        ("routes", {"upstream": UPSTREAM}),
        ("routes", {"uri": "/"}),
        ("routes", {**ROUTE, "vars": [["a"]]}),
        ("routes", {"uri": "/no-end-{", "upstream": UPSTREAM}),
        ("upstreams", {"nodes": {"127.0.0.1:99999": 1}}),
        ("upstreams", {**UPSTREAM, "type": "nope"}),
        ("services", {"hosts": [1]}),
        ("ssls", {"cert": "x", "key": "y"}),
        ("routes", [ROUTE]),
        ("routes", "text"),
        ("routes", None),
        ("routes", 5),
    ],
)
async def test_invalid_documents_are_never_stored(admin: Admin, kind: str, document: Any) -> None:
    for method, path in (("PUT", f"/{kind}/1"), ("POST", f"/{kind}")):
        status, text = await admin.refused(method, path, document)
        assert status == 400
        assert text
    assert (await admin("GET", f"/{kind}"))[1]["total"] == 0


@pytest.mark.parametrize("id", ["a b", "%2e%2e%20", "a%2Fb%20", "x" * 65, "ü", "a%00b"])
async def test_ids_that_cannot_be(admin: Admin, id: str) -> None:
    assert (await admin("GET", f"/routes/{id}"))[0] == 404
    assert (await admin("DELETE", f"/routes/{id}"))[0] == 404
    assert (await admin("PATCH", f"/routes/{id}", {"desc": "x"}))[0] == 404
    assert (await admin("PUT", f"/routes/{id}", ROUTE))[0] in (400, 404)
    assert not (await admin.store.list("/apisix/")).items


async def test_the_id_may_come_in_the_body(admin: Admin) -> None:
    assert (await admin("PUT", "/routes", {**ROUTE, "id": 7}))[0] == 201
    assert (await admin.value("/routes/7"))["id"] == 7
    document = {"id": "c", "plugins": {}}
    await admin("PUT", "/consumers", {"username": "jack"})
    status, created = await admin("PUT", "/consumers/jack/credentials", document)
    assert (status, created["key"]) == (201, "/apisix/consumers/jack/credentials/c")


async def test_patch_merges_deeply(admin: Admin) -> None:
    await admin("PUT", "/routes/1", {**ROUTE, "labels": {"a": "1", "b": "2"}, "methods": ["GET"]})
    change = {
        "labels": {"b": None, "c": "3"},
        "methods": ["PUT", "POST"],
        "upstream": {"nodes": {"127.0.0.1:1981": 2}},
        "desc": "new",
    }
    status, patched = await admin("PATCH", "/routes/1", change)
    assert status == 200
    assert set(patched) == {"key", "value"}
    assert await admin.value("/routes/1") == {
        "id": "1",
        "uri": "/hello",
        "labels": {"a": "1", "c": "3"},
        "methods": ["PUT", "POST"],
        "desc": "new",
        "upstream": {
            "type": "roundrobin",
            "nodes": {"127.0.0.1:1980": 1, "127.0.0.1:1981": 2},
        },
    }


@pytest.mark.parametrize(
    ("path", "value", "nodes"),
    [
        ("upstream/nodes", {"127.0.0.1:1982": 3}, {"127.0.0.1:1982": 3}),
        ("upstream/nodes/127.0.0.1:1983", 4, {"127.0.0.1:1980": 1, "127.0.0.1:1983": 4}),
        ("upstream/nodes/127.0.0.1:1980", None, {}),
    ],
)
async def test_patch_of_a_part_replaces_it(admin: Admin, path: str, value: Any, nodes: Any) -> None:
    await admin("PUT", "/routes/1", ROUTE)
    assert (await admin("PATCH", f"/routes/1/{path}", value))[0] == 200
    assert (await admin.value("/routes/1"))["upstream"]["nodes"] == nodes


async def test_patch_of_a_part_that_cannot_have_parts(admin: Admin) -> None:
    await admin("PUT", "/routes/1", ROUTE)
    assert await admin.refused("PATCH", "/routes/1/uri/x", 1) == (400, "invalid sub-path: /uri")


async def test_a_patch_is_validated_as_a_whole(admin: Admin) -> None:
    await admin("PUT", "/routes/1", ROUTE)
    assert (await admin("PATCH", "/routes/1", {"upstream_id": "9", "upstream": None}))[0] == 400
    assert (await admin("PATCH", "/routes/1", {"uri": None}))[0] == 400
    assert await admin.refused("PATCH", "/routes/1", {"id": "2"}) == (400, "wrong route id")
    assert await admin.value("/routes/1") == {**ROUTE, "id": "1"}
    assert (await admin("PATCH", "/routes/2", {"desc": "x"}))[0] == 404


async def test_patch_keeps_a_given_update_time(admin: Admin) -> None:
    await admin("PUT", "/routes/1", ROUTE)
    _, patched = await admin("PATCH", "/routes/1", {"update_time": 1705252779})
    assert patched["value"]["update_time"] == 1705252779


async def test_ttl_removes_a_resource_in_time(admin: Admin) -> None:
    assert (await admin("PUT", "/routes/1?ttl=1", ROUTE))[0] == 201
    watch = admin.store.watch("/apisix/", 1)
    events = []
    async for batch in watch:
        events += batch.events
        if events and events[-1].item is None:
            break
    await watch.aclose()
    assert (await admin("GET", "/routes/1"))[0] == 404


async def test_raw_control_characters_in_json_are_accepted(admin: Admin) -> None:
    body = b'{"uri": "/", "desc": "two\nlines\tand a tab", "upstream": {"nodes": {"a:1": 1}}}'
    assert (await admin.raw("PUT", "/routes/1", body)).status == 201
    assert (await admin.value("/routes/1"))["desc"] == "two\nlines\tand a tab"


@pytest.mark.parametrize("body", [b"{", b"\xff", b"NaN", b'"\\ud800"', b"[" * 100_000])
async def test_bodies_that_are_not_json(admin: Admin, body: bytes) -> None:
    answer = await admin.raw("PUT", "/routes/1", body)
    assert answer.status == 400
    document = json.loads(answer.body)
    assert document["error_msg"].startswith("invalid request body: ")
    assert "req_body" in document


async def test_a_body_over_the_limit_is_refused(admin: Admin) -> None:
    body = json.dumps({**ROUTE, "desc": "x" * 1536 * 1024}).encode()
    answer = await admin.raw("PUT", "/routes/1", body)
    assert answer.status == 400
    assert json.loads(answer.body)["error_msg"].startswith("invalid request body: ")


async def test_a_list_survives_values_that_are_not_json(admin: Admin) -> None:
    await admin.store.commit(
        [
            Put("/apisix/routes/bad", b"\xff{"),
            Put("/apisix/routes/five", b"5"),
            Put("/apisix/routes/", b"init_dir"),
        ]
    )
    await admin("PUT", "/routes/1", ROUTE)
    status, found = await admin("GET", "/routes")
    assert (status, found["total"]) == (200, 3)
    assert (await admin("GET", "/routes?name=x"))[1]["total"] == 0
    assert (await admin("PATCH", "/routes/bad", {"desc": "x"}))[0] == 400
    assert (await admin("PUT", "/routes/bad", ROUTE))[0] == 200
    assert (await admin("DELETE", "/routes/five"))[0] == 200


class TestCredentials:
    async def test_they_live_below_their_consumer(self, admin: Admin) -> None:
        await admin("PUT", "/consumers", {"username": "jack"})
        document = {"plugins": {"key-auth": {"key": "one"}}}
        status, created = await admin("PUT", "/consumers/jack/credentials/c1", document)
        assert status == 201
        assert created["key"] == "/apisix/consumers/jack/credentials/c1"
        assert created["value"]["id"] == "c1"
        assert (await admin("GET", "/consumers"))[1]["total"] == 1
        assert (await admin("GET", "/consumers/jack/credentials"))[1]["total"] == 1
        assert (await admin("GET", "/consumers/jill/credentials"))[0] == 404
        assert (await admin("GET", "/consumers/jack/credentials/c1"))[0] == 200

    async def test_they_go_with_their_consumer(self, admin: Admin) -> None:
        await admin("PUT", "/consumers", {"username": "jack"})
        await admin("PUT", "/consumers", {"username": "jacky"})
        for name in ("jack", "jacky"):
            document = {"plugins": {"key-auth": {"key": name}}}
            await admin("PUT", f"/consumers/{name}/credentials/c1", document)
        assert (await admin("DELETE", "/consumers/jack"))[0] == 200
        keys = [item.key for item in (await admin.store.list("/apisix/")).items]
        assert keys == ["/apisix/consumers/jacky", "/apisix/consumers/jacky/credentials/c1"]

    async def test_only_auth_plugins(self, admin: Admin) -> None:
        await admin("PUT", "/consumers", {"username": "jack"})
        document = {"plugins": {"stamp": {"count": 1}}}
        assert (await admin("PUT", "/consumers/jack/credentials/c1", document))[0] == 400

    async def test_a_key_belongs_to_one_consumer(self, admin: Admin) -> None:
        key = {"plugins": {"key-auth": {"key": "one"}}}
        await admin("PUT", "/consumers", {"username": "jack", **key})
        refusal = (400, "duplicate key found with consumer: jack")
        assert await admin.refused("PUT", "/consumers", {"username": "jill", **key}) == refusal
        await admin("PUT", "/consumers", {"username": "jill"})
        assert await admin.refused("PUT", "/consumers/jill/credentials/1", key) == refusal
        assert (await admin("PUT", "/consumers", {"username": "jack", **key}))[0] == 200


class TestDeleteGuards:
    @pytest.mark.parametrize(
        ("kind", "target", "user_path", "user", "text"),
        [
            (
                "upstreams",
                UPSTREAM,
                "/routes/2",
                {"uri": "/", "upstream_id": 1},
                "can not delete this upstream, route [2] is still using it now",
            ),
            (
                "upstreams",
                UPSTREAM,
                "/services/2",
                {"upstream_id": "1"},
                "can not delete this upstream, service [2] is still using it now",
            ),
            (
                "upstreams",
                UPSTREAM,
                "/global_rules/2",
                {
                    "plugins": {
                        "traffic-split": {
                            "rules": [{"weighted_upstreams": [{"upstream_id": 1, "weight": 1}]}]
                        }
                    }
                },
                "can not delete this upstream, plugin in global_rules [2] is still using it now",
            ),
            (
                "services",
                {"upstream": UPSTREAM},
                "/routes/2",
                {"uri": "/", "service_id": "1"},
                "can not delete this service directly, route [2] is still using it now",
            ),
            (
                "plugin_configs",
                {"plugins": {}},
                "/routes/2",
                {**ROUTE, "plugin_config_id": "1"},
                "can not delete this plugin config, route [2] is still using it now",
            ),
            (
                "consumer_groups",
                {"plugins": {}},
                "/consumers/jack",
                {"username": "jack", "group_id": "1"},
                "can not delete this consumer group, consumer [jack] is still using it now",
            ),
        ],
        ids=["route", "service", "plugin", "service-route", "plugin-config", "group"],
    )
    async def test_what_is_used_stays(
        self, admin: Admin, kind: str, target: Any, user_path: str, user: Any, text: str
    ) -> None:
        assert (await admin("PUT", f"/{kind}/1", target))[0] == 201
        assert (await admin("PUT", user_path, user))[0] == 201
        assert await admin.refused("DELETE", f"/{kind}/1") == (400, text)
        assert await admin.refused("DELETE", f"/{kind}/1?force=1") == (400, text)
        assert (await admin("DELETE", user_path))[0] == 200
        assert (await admin("DELETE", f"/{kind}/1"))[0] == 200

    async def test_force_deletes_what_is_used(self, admin: Admin) -> None:
        await admin("PUT", "/upstreams/1", UPSTREAM)
        await admin("PUT", "/routes/1", {"uri": "/", "upstream_id": "1"})
        assert (await admin("DELETE", "/upstreams/1?force=true"))[0] == 200
        # A route left dangling can still be repaired and deleted.
        assert (await admin("PATCH", "/routes/1", {"desc": "x"}))[0] == 400
        repair = {"upstream_id": None, "upstream": UPSTREAM}
        assert (await admin("PATCH", "/routes/1", repair))[0] == 200


async def test_a_global_plugin_has_one_rule(admin: Admin) -> None:
    rule = {"plugins": {"stamp": {"count": 1}}}
    await admin("PUT", "/global_rules/1", rule)
    assert await admin.refused("PUT", "/global_rules/2", rule) == (
        400,
        "plugin 'stamp' already exists in global rule with id '1'",
    )
    assert (await admin("PUT", "/global_rules/1", rule))[0] == 200


class TestLists:
    async def fill(self, admin: Admin) -> None:
        await admin("PUT", "/upstreams/u", UPSTREAM)
        for number in range(25):
            route = {
                "uri": f"/r/{number}",
                "name": f"route-{number}",
                "labels": {"even": "yes"} if number % 2 == 0 else {"odd": "yes"},
            }
            target = {"upstream_id": "u"} if number < 3 else {"upstream": UPSTREAM}
            assert (await admin("PUT", f"/routes/{100 - number}", {**route, **target}))[0] == 201

    @pytest.mark.parametrize(
        ("query", "total", "first", "count"),
        [
            ("", 25, "/r/0", 25),
            ("?page=1&page_size=10", 25, "/r/0", 10),
            ("?page=3&page_size=10", 25, "/r/20", 5),
            ("?page=9&page_size=10", 25, None, 0),
            ("?page=0&page_size=10", 25, "/r/0", 10),
            ("?page=-1&page_size=10", 25, "/r/0", 10),
            ("?page=1", 25, "/r/0", 25),
            ("?page_size=10", 25, "/r/0", 25),
            ("?name=route-1", 11, "/r/1", 11),
            ("?name=%5Eroute-1%24", 1, "/r/1", 1),
            ("?label=even", 13, "/r/0", 13),
            ("?label=none", 0, None, 0),
            ("?uri=%2Fr%2F2.", 5, "/r/20", 5),
            ("?uri=r&label=odd&page=2&page_size=10", 12, "/r/21", 2),
            ("?filter=upstream_id%3Du", 3, "/r/0", 3),
            ("?filter=service_id%3D1", 0, None, 0),
            ("?filter=unknown%3D1", 25, "/r/0", 25),
        ],
    )
    async def test_filters_and_pages(
        self, admin: Admin, query: str, total: int, first: str | None, count: int
    ) -> None:
        await self.fill(admin)
        status, found = await admin("GET", f"/routes{query}")
        assert (status, found["total"], len(found["list"])) == (200, total, count)
        assert (found["list"][0]["value"]["uri"] if found["list"] else None) == first

    @pytest.mark.parametrize("size", ["9", "501", "x", "-10", "1e2", ""])
    async def test_page_size_has_limits(self, admin: Admin, size: str) -> None:
        answer = await admin.raw("GET", f"/routes?page=1&page_size={size}")
        assert answer.status == 400
        assert answer.body == b"page_size must be between 10 and 500"

    async def test_a_bad_pattern_is_refused(self, admin: Admin) -> None:
        assert (await admin("GET", "/routes?name=%28"))[0] == 400


class TestSecrets:
    async def test_without_a_keyring_they_are_shown_as_stored(self, admin: Admin) -> None:
        route = {**ROUTE, "plugins": {"stamp": {"count": 1, "secret": "s3cret"}}}
        _, created = await admin("PUT", "/routes/1", route)
        assert created["value"]["plugins"]["stamp"]["secret"] == "s3cret"
        document = await admin.value("/routes/1")
        document["desc"] = "edited"
        assert (await admin("PUT", "/routes/1", document))[0] == 200
        assert (await admin("PATCH", "/routes/1", {"desc": "again"}))[0] == 200
        change = {"stamp": {"count": 2, "secret": "***"}}
        assert (await admin("PATCH", "/routes/1/plugins", change))[0] == 200
        item = await admin.store.get("/apisix/routes/1")
        assert item is not None
        assert decode_json(item.value)["plugins"]["stamp"] == {"count": 2, "secret": "s3cret"}

    async def test_a_keyring_seals_them_in_the_store(self, tmp_path: Path) -> None:
        from pingsix_asgi.secrets.keyring import Keyring

        keyring = Keyring(["one"])
        async with admin_over(tmp_path, keyring=keyring) as admin:
            route = {**ROUTE, "plugins": {"stamp": {"count": 1, "secret": "s3cret"}}}
            assert (await admin("PUT", "/routes/1", route))[0] == 201
            document = await admin.value("/routes/1")
            assert (await admin("PUT", "/routes/1", document))[0] == 200
            assert (await admin("PATCH", "/routes/1", {"desc": "x"}))[0] == 200
            item = await admin.store.get("/apisix/routes/1")
            assert item is not None
            assert b"s3cret" not in item.value
            sealed = decode_json(item.value)["plugins"]["stamp"]["secret"]
            assert keyring.decrypt(sealed) == "s3cret"
            key = {"plugins": {"key-auth": {"key": "one"}}}
            await admin("PUT", "/consumers", {"username": "jack", **key})
            assert (await admin("PUT", "/consumers", {"username": "jill", **key}))[0] == 400


async def test_nothing_but_the_key_is_needed(admin: Admin) -> None:
    answer = await admin.raw("PUT", "/routes/1", json.dumps(ROUTE).encode(), {"x-api-key": KEY})
    assert answer.status == 201
    assert answer.header("content-type") == "application/json"


async def test_post_never_overwrites(admin: Admin) -> None:
    _, first = await admin("POST", "/routes", ROUTE)
    id = int(first["value"]["id"])
    for taken in range(id + 1, id + 12):
        await admin("PUT", f"/routes/{taken:020d}", {**ROUTE, "desc": "mine"})
    status, created = await admin("POST", "/routes", ROUTE)
    assert status == 201
    _, found = await admin("GET", "/routes")
    assert found["total"] == 13
    assert sum("desc" in entry["value"] for entry in found["list"]) == 11
    assert int(created["value"]["id"]) > id + 11


@pytest.mark.parametrize("levels", [99, 101, 1200, 20_000])
async def test_a_sub_path_that_nests_too_deeply(admin: Admin, levels: int) -> None:
    await admin("PUT", "/routes/1", {**ROUTE, "plugins": {"stamp": {"count": 1}}})
    status, text = await admin.refused("PATCH", f"/routes/1{'/plugins' * levels}", {"a": {"b": 1}})
    assert (status, "nested too deeply" in text) == (400, True)
    value: Any = 1
    for _ in range(98):
        value = {"a": value}
    for path, change in (("", {"plugins": {"stamp": value}}), ("/plugins/stamp/x", value)):
        assert (await admin("PATCH", f"/routes/1{path}", change))[0] == 400


@pytest.mark.parametrize("kind", ["upstreams", "routes", "traffic-split"])
async def test_a_client_certificate_that_does_not_load_is_refused(admin: Admin, kind: str) -> None:
    bad = {**UPSTREAM, "tls": {"client_cert": "x" * 128, "client_key": "y" * 128}}
    rules = [{"weighted_upstreams": [{"upstream": bad}]}]
    split = {**ROUTE, "plugins": {"traffic-split": {"rules": rules}}}
    documents = {"upstreams": bad, "routes": {**ROUTE, "upstream": bad}, "traffic-split": split}
    path = "/upstreams/1" if kind == "upstreams" else "/routes/1"
    status, text = await admin.refused("PUT", path, documents[kind])
    assert (status, "failed to parse cert: PEM_read_bio_X509_AUX() failed" in text) == (400, True)


async def test_ids_that_start_with_a_dot_are_refused(admin: Admin) -> None:
    assert (await admin("PUT", "/routes/.a", ROUTE))[0] == 400
    assert (await admin("PUT", "/routes", {**ROUTE, "id": ".a"}))[0] == 400
    assert (await admin("PUT", "/routes/a.b", ROUTE))[0] == 201


async def test_a_consumer_with_many_credentials_can_be_deleted_over_etcd(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path).start()
    store = EtcdStore(EtcdClient(EtcdOptions(endpoints=[server.url])))
    try:
        admin = Admin(store)
        assert (await admin("PUT", "/consumers", {"username": "jack"}))[0] == 201
        below = "/apisix/consumers/jack/credentials"
        for number in range(250):
            await store.commit([Put(f"{below}/{number}", b"{}")])
        assert (await admin("DELETE", "/consumers/jack"))[0] == 200
        assert not (await store.list("/apisix/")).items
    finally:
        await store.aclose()
        server.stop(kill=True)
