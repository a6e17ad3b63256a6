"""Who gets in, what the answers carry, and what the API tells about itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pingsix_asgi import __version__
from pingsix_asgi.errors import SourceError
from support.admin_client import KEY, VIEWER, Admin, admin_over

UPSTREAM = {"nodes": {"127.0.0.1:1980": 1}}
ROUTE = {"uri": "/hello", "upstream": UPSTREAM}


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    async with admin_over(tmp_path) as admin:
        yield admin


def description(body: bytes) -> str:
    document = json.loads(body)
    assert document["error_msg"] == "failed to check token"
    return document["description"]


class TestKeys:
    @pytest.mark.parametrize(
        ("query", "headers"),
        [
            ("", {"x-api-key": KEY}),
            (f"?api_key={KEY}", {}),
            (f"?api_key={KEY}", {"x-api-key": "wrong"}),
            ("", {"cookie": f"a=b; x_api_key={KEY}"}),
        ],
        ids=["header", "query", "query wins", "cookie"],
    )
    async def test_three_places_for_a_key(
        self, admin: Admin, query: str, headers: dict[str, str]
    ) -> None:
        assert (await admin.raw("GET", f"/routes{query}", headers=headers)).status == 200

    @pytest.mark.parametrize(
        ("headers", "why"),
        [
            ({}, "missing apikey"),
            ({"x-api-key": ""}, "missing apikey"),
            ({"x-api-key": "nope"}, "wrong apikey"),
            ({"x-api-key": KEY + "x"}, "wrong apikey"),
            ({"x-api-key": "\xff"}, "wrong apikey"),
            ({"cookie": "x_api_key=nope"}, "wrong apikey"),
            ({"cookie": "\xff;;=;"}, "missing apikey"),
        ],
    )
    async def test_without_the_right_one(
        self, admin: Admin, headers: dict[str, str], why: str
    ) -> None:
        for path in ("/routes", "/nothing", "/plugins/list", ""):
            answer = await admin.raw("GET", path, headers=headers)
            assert (answer.status, description(answer.body)) == (401, why)

    @pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
    async def test_a_viewer_only_reads(self, admin: Admin, method: str) -> None:
        headers = {"x-api-key": VIEWER}
        answer = await admin.raw(method, "/routes/1", json.dumps(ROUTE).encode(), headers)
        assert (answer.status, description(answer.body)) == (
            401,
            "invalid method for role viewer",
        )
        assert (await admin.raw("GET", "/routes", headers=headers)).status == 200

    async def test_the_check_can_be_switched_off(self, tmp_path: Path) -> None:
        async with admin_over(tmp_path, admin_key=(), admin_key_required=False) as admin:
            here = {"host": "127.0.0.1:9180"}
            assert (await admin.raw("GET", "/routes", headers=here)).status == 200
            for foreign in (
                {"origin": "http://evil.example"},
                {"origin": "null"},
                {"sec-fetch-site": "cross-site"},
            ):
                answer = await admin.raw("GET", "/routes", headers={**here, **foreign})
                assert answer.status == 403
                assert answer.header("access-control-allow-origin") is None
            own = {"origin": "http://127.0.0.1:9180", "host": "127.0.0.1:9180"}
            assert (await admin.raw("GET", "/routes", headers=own)).status == 200


class TestOptions:
    async def test_addresses_can_be_limited(self, tmp_path: Path) -> None:
        async with admin_over(tmp_path, allow_admin=["127.0.0.1/24", "::1"]) as admin:
            for address, status in (("127.0.0.9", 200), ("::1", 200), ("127.0.1.1", 403)):
                answer = await admin.client.request(
                    "GET", "/apisix/admin/routes", headers={"x-api-key": KEY}, address=address
                )
                assert answer.status == status


async def test_every_answer_names_version_and_server(admin: Admin) -> None:
    for path, headers in (("/routes", None), ("/routes", {}), ("/nothing", None)):
        answer = await admin.raw("GET", path, headers=headers)
        assert answer.header("x-api-version") == (None if answer.status == 401 else "v3")
        assert answer.header("server") == f"PingSIX/{__version__}"
        assert answer.header("access-control-allow-origin") == "*"
        assert answer.header("content-type") == "application/json"


async def test_a_preflight_needs_no_key(admin: Admin) -> None:
    answer = await admin.raw("OPTIONS", "/routes/1", headers={"origin": "http://ui.example"})
    assert (answer.status, answer.body) == (200, b"")
    assert "PATCH" in str(answer.header("access-control-allow-methods"))


async def test_cors_can_be_switched_off(tmp_path: Path) -> None:
    async with admin_over(tmp_path, enable_admin_cors=False) as admin:
        answer = await admin.raw("GET", "/routes")
        assert answer.header("access-control-allow-origin") is None


async def test_head(admin: Admin) -> None:
    for path in ("", "/", "/routes"):
        answer = await admin.raw("HEAD", path)
        assert (answer.status, answer.body) == (200, b"")
    assert (await admin.raw("HEAD", "", headers={})).status == 401
    assert (await admin.raw("HEAD", "/routes/1")).status == 404


@pytest.mark.parametrize("path", ["/", "/apisix", "/apisix/administrator", "/routes"])
async def test_other_paths_are_not_served(admin: Admin, path: str) -> None:
    answer = await admin.client.request("GET", path, headers={"x-api-key": KEY})
    assert answer.status == 404


async def test_a_store_out_of_reach_is_503(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*arguments: object) -> None:
        raise SourceError("etcd: ConnectError")

    for name in ("get", "list", "commit"):
        monkeypatch.setattr(admin.store, name, fail)
    for method, path, document in (
        ("GET", "/routes", ...),
        ("GET", "/routes/1", ...),
        ("PUT", "/routes/1", ROUTE),
        ("POST", "/routes", ROUTE),
        ("PATCH", "/routes/1", {"desc": "x"}),
        ("DELETE", "/routes/1", ...),
    ):
        assert await admin.refused(method, path, document) == (503, "etcd: ConnectError")


class TestPlugins:
    async def test_names_by_priority(self, admin: Admin) -> None:
        status, names = await admin("GET", "/plugins/list")
        assert status == 200
        assert names.index("cors") < names.index("key-auth") < names.index("stamp")
        assert (await admin("GET", "/plugins/list?subsystem=stream"))[1] == []
        assert await admin.refused("GET", "/plugins/list?subsystem=x") == (
            400,
            "unsupported subsystem: x",
        )

    async def test_a_schema(self, admin: Admin) -> None:
        for path in ("/plugins/stamp", "/schema/plugins/stamp", "/plugins/stamp?subsystem=http"):
            status, schema = await admin("GET", path)
            assert (status, schema["required"]) == (200, ["count"])
        status, schema = await admin("GET", "/plugins/key-auth?schema_type=consumer")
        assert (status, schema["required"]) == (200, ["key"])
        assert await admin.refused("GET", "/plugins/stamp?schema_type=consumer") == (
            400,
            "not found schema",
        )
        for path, subsystem in (
            ("/plugins/nope", "http"),
            ("/plugins/stamp?subsystem=stream", "stream"),
            ("/plugins", "http"),
        ):
            text = f"plugin not found in subsystem {subsystem}"
            assert await admin.refused("GET", path) == (404, text)

    async def test_everything_about_all(self, admin: Admin) -> None:
        status, plugins = await admin("GET", "/plugins?all=true")
        assert status == 200
        assert plugins["stamp"]["priority"] == 7
        assert plugins["stamp"]["metadata_schema"]["required"] == ["count"]
        assert plugins["key-auth"]["type"] == "auth"
        assert plugins["key-auth"]["consumer_schema"]["required"] == ["key"]

    async def test_reload(self, admin: Admin) -> None:
        answer = await admin.raw("PUT", "/plugins/reload")
        assert (answer.status, answer.body) == (200, b"done")
        assert (await admin("GET", "/plugins/reload"))[0] == 405


KINDS = [
    "route",
    "routes",
    "service",
    "upstream",
    "consumer",
    "consumer_group",
    "credential",
    "ssl",
    "global_rule",
    "plugin_config",
    "plugin_metadata",
    "proto",
    "secrets/vault",
]


@pytest.mark.parametrize("name", KINDS)
async def test_schemas_of_resources(admin: Admin, name: str) -> None:
    status, schema = await admin("GET", f"/schema/{name}")
    assert (status, schema["type"]) == (200, "object")


@pytest.mark.parametrize("name", ["nope", "", "secrets", "secrets/nope", "routes/1"])
async def test_schemas_that_are_not_there(admin: Admin, name: str) -> None:
    assert await admin.refused("GET", f"/schema/{name}") == (400, f"not found schema: {name}")


async def test_a_document_can_be_validated_without_storing_it(admin: Admin) -> None:
    for name in ("routes", "route"):
        answer = await admin.raw("POST", f"/schema/validate/{name}", json.dumps(ROUTE).encode())
        assert (answer.status, answer.body) == (200, b"")
    dangling = {"uri": "/", "upstream_id": "9"}
    assert (await admin("POST", "/schema/validate/routes", dangling))[0] == 200
    status, text = await admin.refused("POST", "/schema/validate/routes", {"uri": 1})
    assert status == 400
    assert text.startswith('property "uri" validation failed: ')
    jack = {"username": "jack", "plugins": {"key-auth": {"key": "one"}}}
    assert (await admin("POST", "/schema/validate/consumers", jack))[0] == 200
    assert (await admin("POST", "/schema/validate/nope", {}))[0] == 400
    assert (await admin("POST", "/schema/validate/routes"))[0] == 400
    assert not (await admin.store.list("/apisix/")).items


async def test_a_configuration_can_be_validated_whole(admin: Admin) -> None:
    good = {"routes": [{**ROUTE, "id": "1"}], "consumers": [{"username": "jack"}]}
    assert await admin("POST", "/configs/validate", good) == (200, {})
    bad = {
        "routes": [{**ROUTE, "id": "1"}, {"id": "2", "uri": 5}, {**ROUTE, "id": "1"}],
        "upstreams": {},
        "nonsense": [],
        "services": [5],
    }
    status, found = await admin("POST", "/configs/validate", bad)
    assert (status, found["error_msg"]) == (400, "Configuration validation failed")
    places = {(e["resource_type"], e["resource_id"], e["index"]) for e in found["errors"]}
    assert places == {
        ("routes", "2", 1),
        ("routes", "1", 2),
        ("upstreams", "", 0),
        ("nonsense", "", 0),
        ("services", "0", 0),
    }
    assert (await admin("POST", "/configs/validate", [1]))[0] == 400


async def test_without_keys_a_name_that_was_pointed_here_is_refused(tmp_path: Path) -> None:
    async with admin_over(tmp_path, admin_key=(), admin_key_required=False) as admin:
        for host in ("127.0.0.1:9180", "[::1]:9180", "localhost", "localhost:9180"):
            assert (await admin.raw("GET", "/routes", headers={"host": host})).status == 200
        for host in ("evil.example:9180", "", "[::1", "127.0.0.1.evil.example"):
            headers = {"host": host, "sec-fetch-site": "same-origin"}
            assert (await admin.raw("GET", "/routes", headers=headers)).status == 403
