"""Who may use the Admin API, and what becomes of requests it does not know."""

from __future__ import annotations

import pytest

from support.conformance import KEY, Bench
from support.conformance_core import Step, admin, delete, get, put, route, run

FAILED = "failed to check token"
KEYS: dict[str, Step] = {
    "none": admin("GET", "routes", headers={}, status=401,
                  document={"error_msg": FAILED, "description": "missing apikey"},
                  answer={"x-api-version": None}),
    "wrong": admin("GET", "routes", headers={"X-API-KEY": "wrong"}, status=401,
                   document={"error_msg": FAILED, "description": "wrong apikey"}),
    "under another name": admin("GET", "routes", headers={"apikey": KEY}, status=401),
    "in the header": admin("GET", "routes", headers={"x-api-key": KEY},
                           answer={"x-api-version": "v3"}),
    "in the query": admin("GET", f"routes?api_key={KEY}", headers={}),
    "in a cookie": admin("GET", "routes", headers={"Cookie": f"a=b; x_api_key={KEY}"}),
    "the query goes first": admin("GET", "routes?api_key=wrong", headers={"x-api-key": KEY},
                                  status=401),
    "for writing": admin("PUT", "routes/1", {"uri": "/x"}, headers={}, status=401),
    "for plugins": admin("GET", "plugins/list", headers={}, status=401),
    "for reloading plugins": admin("PUT", "plugins/reload", headers={}, status=401),
    "for schemas": admin("GET", "schema/route", headers={}, status=401),
    "for an unknown kind": admin("GET", "nothing", headers={}, status=401),
}  # fmt: skip

ODD: dict[str, list[Step]] = {
    "unknown kinds": [
        get("nothing", status=404, error="Unsupported resource type: nothing"),
        get("ssl", status=404, error="Unsupported resource type: ssl"),
        put("proto/1", {}, status=404, error="Unsupported resource type: proto"),
    ],
    "methods a kind does not have": [
        admin("POST", "consumers", {}, status=405,
              error="not supported `POST` method for consumer"),
        admin("PATCH", "consumers/jack", {}, status=405,
              error="not supported `PATCH` method for consumer"),
        admin("POST", "global_rules", {}, status=405,
              error="not supported `POST` method for global rule"),
        admin("POST", "plugin_configs", {}, status=405,
              error="not supported `POST` method for plugin config"),
        admin("POST", "consumer_groups", {}, status=405,
              error="not supported `POST` method for consumer group"),
        admin("POST", "plugin_metadata", {}, status=405,
              error="not supported `POST` method for plugin_metadata"),
        admin("POST", "secrets/vault", {}, status=405,
              error="not supported `POST` method for secret"),
        admin("PATCH", "protos/1", {}, status=405,
              error="not supported `PATCH` method for proto"),
        admin("POST", "consumers/jack/credentials", {}, status=405,
              error="not supported `POST` method for credential"),
    ],
    "methods nobody has": [
        admin("TRACE", "routes", status=404),
        admin("LINK", "routes", status=404),
    ],
    "stream routes": [
        put("stream_routes/1", {"server_port": 1}, status=400,
            error="stream mode is disabled, can not add stream routes"),
    ],
    "delete without an id": [
        delete("routes", status=400, error="missing route id"),
        delete("services", status=400, error="missing service id"),
        delete("upstreams", status=400, error="missing upstream id"),
        delete("ssls", status=400, error="missing ssl id"),
        delete("global_rules", status=400, error="missing global rule id"),
        delete("plugin_configs", status=400, error="missing plugin config id"),
        delete("consumer_groups", status=400, error="missing consumer group id"),
        delete("consumers", status=400, error="missing consumer name"),
    ],
    "a slash at the end": [
        put("routes/1/", route(), status=201, has={"key": "/apisix/routes/1"}),
        get("routes/1/", has={"key": "/apisix/routes/1"}),
        delete("routes/1/"),
    ],
    "preflight": [
        admin("OPTIONS", "routes", headers={"Origin": "http://a.example"}, status=200,
              answer={"access-control-allow-origin": "*",
                      "access-control-allow-methods": "POST, GET, PUT, OPTIONS, DELETE, PATCH"}),
        get("routes", answer={"access-control-allow-origin": "*"}),
    ],
    "any content type": [
        admin("PUT", "routes/1", route(), status=201,
              headers={"X-API-KEY": KEY, "Content-Type": "application/x-www-form-urlencoded"}),
    ],
    "control characters in JSON": [
        admin("PUT", "routes/1", '{"uri": "/a", "plugins": {}, "desc": "two\nlines\tand tabs"}',
              status=201, has={"value": {"desc": "two\nlines\tand tabs"}}),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_keys(bench: Bench, name: str) -> None:
    run(bench, [KEYS[name]])


@pytest.mark.parametrize("name", ODD)
def test_odd_requests(bench: Bench, name: str) -> None:
    run(bench, ODD[name])


def test_head_of_the_root(bench: Bench) -> None:
    run(bench, [admin("HEAD", "", status=200, text="")])
