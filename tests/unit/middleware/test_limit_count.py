"""limit-count in memory: keys, rules, headers, groups, metadata. Redis is in tests/integration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pingsix_asgi.adapters import LoneHost
from pingsix_asgi.context import Context
from pingsix_asgi.errors import SchemaError
from pingsix_asgi.expr.variables import getter
from pingsix_asgi.middleware.limit_count import LimitCount
from pingsix_asgi.plugin.base import Plugin
from pingsix_asgi.testing import Client, EchoApp, FakeClock, alone, together

LIMIT = {"count": 2, "time_window": 60}


class ShowInfo(Plugin):
    """Copies $rate_limiting_info to a response header."""

    name = "show-info"
    priority = 1

    def header_filter(self, ctx: Context) -> None:
        info = getter("rate_limiting_info")(ctx) or ""
        ctx.response.headers.append(b"x-info", info.encode())


def gateway(clock: FakeClock | None = None, **options: Any) -> Client:
    confs: Any = {LimitCount: {**LIMIT, **options}, ShowInfo: {}}
    return Client(together(confs, clock=clock or FakeClock()))


def quota(answer: Any) -> tuple[str | None, ...]:
    return tuple(answer.header(f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset"))


async def test_a_window_starts_with_the_first_request_and_ends() -> None:
    clock = FakeClock()
    client = gateway(clock)
    assert quota(await client.get()) == ("2", "1", "60")
    clock.advance(0.016)
    assert quota(await client.get()) == ("2", "0", "59.98")
    refused = await client.get()
    assert (refused.status, *quota(refused)) == (503, "2", "0", "59.98")
    clock.advance(59.99)
    assert quota(await client.get()) == ("2", "1", "60")


async def test_the_refusal() -> None:
    client = gateway(count=1, rejected_code=429, rejected_msg="slow down")
    await client.get()
    answer = await client.get()
    assert (answer.status, answer.body) == (429, b'{"error_msg":"slow down"}\n')
    client = gateway(count=1)
    await client.get()
    assert b"503 Service Temporarily Unavailable" in (await client.get()).body


async def test_quota_headers_replace_those_of_the_target_and_can_be_hidden() -> None:
    app = EchoApp(headers={"X-RateLimit-Limit": "99"})
    answer = await Client(alone(LimitCount, app, **LIMIT)).get()
    assert answer.all("x-ratelimit-limit") == ["2"]
    answer = await gateway(show_limit_quota_header=False).get()
    assert quota(answer) == (None, None, None)


async def test_metadata_renames_the_headers() -> None:
    metadata = {"limit-count": {"limit_header": "X-L", "reset_header": "X-T"}}
    client = Client(together({LimitCount: LIMIT}, metadata=metadata))
    answer = await client.get()
    assert answer.header("x-l") == "2"
    assert answer.header("x-t")
    assert answer.header("x-ratelimit-remaining") == "1"


async def test_rate_limiting_info() -> None:
    info = json.loads((await gateway().get()).header("x-info") or "")
    assert info.pop("rate_limiting_key").startswith("/apisix/:")
    assert info == {
        "rate_limiting_limit": 2,
        "rate_limiting_remaining": 1,
        "rate_limiting_reset": 60,
    }


@pytest.mark.parametrize(
    ("options", "requests", "statuses"),
    [
        pytest.param(
            {},
            [("/", {}, "1.1.1.1"), ("/", {}, "1.1.1.1"), ("/", {}, "2.2.2.2")],
            [200, 503, 200],
            id="address",
        ),
        pytest.param(
            {"key": "http_x_user"},
            [("/", {"x-user": "a"}, ""), ("/", {"x-user": "a"}, ""), ("/", {"x-user": "b"}, "")],
            [200, 503, 200],
            id="var",
        ),
        pytest.param(
            {"key": "http_x_user"},
            [("/", {}, "1.1.1.1"), ("/", {}, "1.1.1.1")],
            [200, 503],
            id="missing: the address",
        ),
        pytest.param(
            {"key_type": "var_combination", "key": "$http_a $http_b"},
            [
                ("/", {"a": "1", "b": "2"}, ""),
                ("/", {"a": "1", "b": "3"}, ""),
                ("/", {"a": "1", "b": "2"}, ""),
            ],
            [200, 200, 503],
            id="combination",
        ),
        pytest.param(
            {"key_type": "var_combination", "key": "$http_a $http_b"},
            [("/", {}, "1.1.1.1"), ("/", {}, "2.2.2.2"), ("/", {}, "1.1.1.1")],
            [200, 200, 503],
            id="combination without values: the address",
        ),
        pytest.param(
            {"key_type": "constant", "key": "remote_addr"},
            [("/", {}, "1.1.1.1"), ("/", {}, "2.2.2.2")],
            [200, 503],
            id="constant",
        ),
        pytest.param(
            {"key_type": "head", "key": "X-User"},
            [("/", {"x-user": "a"}, ""), ("/", {"x-user": "b"}, ""), ("/", {"x-user": "a"}, "")],
            [200, 200, 503],
            id="head",
        ),
        pytest.param(
            {"key_type": "cookie", "key": "sid"},
            [("/", {"cookie": "x=1; sid=a"}, ""), ("/", {"cookie": "sid=a"}, "")],
            [200, 503],
            id="cookie",
        ),
        pytest.param(
            {"key_type": "head", "key": "k", "key_missing_policy": "allow"},
            [("/", {}, "")] * 3,
            [200, 200, 200],
            id="missing: allow",
        ),
        pytest.param(
            {"key_type": "head", "key": "k", "key_missing_policy": "deny"},
            [("/", {}, "")],
            [400],
            id="missing: deny",
        ),
        pytest.param(
            {"key_type": "head", "key": "k", "key_missing_policy": "default"},
            [("/", {}, "1.1.1.1"), ("/", {}, "2.2.2.2")],
            [200, 503],
            id="missing: one bucket",
        ),
    ],
)
async def test_keys(options: Any, requests: Any, statuses: list[int]) -> None:
    client = gateway(count=1, **options)
    answers = [
        await client.request("GET", target, headers=headers, address=address)
        for target, headers, address in requests
    ]
    assert [answer.status for answer in answers] == statuses


async def test_a_key_from_the_body() -> None:
    client = gateway(count=1, key="post_arg.user.id")
    statuses = [
        (
            await client.request("POST", "/", headers={"content-type": "application/json"}, body=b)
        ).status
        for b in (b'{"user":{"id":1}}', b'{"user":{"id":2}}', b'{"user":{"id":1}}')
    ]
    assert statuses == [200, 200, 503]


async def test_numbers_from_variables() -> None:
    client = gateway(count="${http_count ?? 2}", time_window="$http_window")
    headers = {"count": "1", "window": "10"}
    assert quota(await client.get("/", headers)) == ("1", "0", "10")
    assert (await client.get("/", headers)).status == 503
    assert (await client.get("/", {"window": "10"})).status == 503
    for bad in ("", "x", "0", "-1", "1.5", "9007199254740992", "inf", "nan"):
        answer = await client.get("/", {"count": bad, "window": "10"})
        assert answer.status == 500, bad
    degrading = gateway(count="$http_count", allow_degradation=True)
    assert (await degrading.get("/", {"count": "x"})).status == 200


RULES: dict[str, Any] = {
    "count": None,
    "time_window": None,
    "rules": [
        {"count": 1, "time_window": 10, "key": "${http_user}"},
        {
            "count": "${http_n ?? 3}",
            "time_window": 60,
            "key": "$remote_addr $http_all",
            "header_prefix": "all",
        },
        {"count": 1, "time_window": 60, "key": "${http_other}"},
    ],
}


async def test_rules_apply_in_order_and_those_without_key_are_skipped() -> None:
    client = gateway(**RULES)
    answer = await client.get("/", {"user": "jack"})
    assert answer.header("x-1-ratelimit-remaining") == "0"
    assert answer.header("x-all-ratelimit-remaining") == "2"
    assert answer.header("x-3-ratelimit-limit") is None
    assert (await client.get("/", {"user": "jack"})).status == 503
    assert (await client.get("/", {"user": "jill"})).header("x-all-ratelimit-remaining") == "1"
    assert (await client.get()).header("x-all-ratelimit-remaining") == "0"
    assert (await client.get()).status == 503


async def test_no_rule_that_applies_is_an_error_unless_it_may_degrade() -> None:
    rules = [{"count": 1, "time_window": 10, "key": "${http_user}"}]
    none: dict[str, Any] = {"count": None, "time_window": None, "rules": rules}
    assert (await gateway(**none).get()).status == 500
    assert (await gateway(**none, allow_degradation=True).get()).status == 200


async def test_a_sliding_window_remembers_the_one_before() -> None:
    clock = FakeClock(600.0)
    client = gateway(clock, count=10, window_type="sliding")
    for left in range(9, -1, -1):
        assert (await client.get()).header("x-ratelimit-remaining") == str(left)
    assert (await client.get()).status == 503
    clock.advance(60 + 30)  # half of the ten are out of sight
    statuses = [(await client.get()).status for _ in range(6)]
    assert statuses == [200] * 5 + [503]


def instance(kept: dict[Any, Any], owner: str, **options: Any) -> LimitCount:
    plugin = LimitCount(LimitCount.Conf(**{**LIMIT, **options}))
    host = LoneHost(LimitCount, FakeClock(), kept)
    host.owner = owner
    plugin.setup(host)
    return plugin


def key(plugin: LimitCount) -> str:
    return plugin._rules[0].prefix


def test_counters_belong_to_the_owner_and_the_conf() -> None:
    kept: dict[Any, Any] = {}
    one = key(instance(kept, "routes/1"))
    assert one.startswith("/apisix/routes/1:")
    assert key(instance(kept, "routes/1")) == one
    assert key(instance(kept, "routes/2")) != one
    assert key(instance(kept, "routes/1", count=3)) != one


def test_members_of_a_group_share_and_must_agree() -> None:
    kept: dict[Any, Any] = {}
    first, second = (instance(kept, f"routes/{n}", group="g") for n in (1, 2))
    assert key(first) == key(second) == "g:"
    with pytest.raises(SchemaError, match="group conf mismatched"):
        instance(kept, "routes/3", group="g", count=9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"count": 0}, "should match only one schema"),
        ({"time_window": 0}, "should match only one schema"),
        ({"count": None}, "value should match only one schema, but matches none"),
        ({"rules": RULES["rules"]}, "cannot be specified at the same time"),
        ({**RULES, "rules": [RULES["rules"][0]] * 2}, "duplicate key '\\${http_user}' in rules"),
        ({"key_type": "x"}, "matches none of the enum values"),
        ({"rejected_code": 600}, "to be at most 599"),
        ({"rejected_msg": ""}, "string too short"),
        ({"policy": "redis"}, "then clause did not match"),
        ({"policy": "redis-cluster"}, "else clause did not match"),
        ({"policy": "redis-sentinel"}, "else clause did not match"),
        ({"policy": "redis", "redis_host": "h."}, None),
        ({"policy": "redis", "redis_host": "hh", "sync_interval": 0.05}, "sync_interval"),
        ({"policy": "redis", "redis_host": "hh", "sync_interval": 60}, "smaller than time_window"),
        ({"scope": "cluster"}, "scope"),
    ],
)
def test_options(options: dict[str, Any], text: str | None) -> None:
    document = {k: v for k, v in {**LIMIT, **options}.items() if v is not None}
    if text is None:
        alone(LimitCount, **document)
        return
    with pytest.raises(SchemaError, match=text):
        alone(LimitCount, **document)


@pytest.mark.parametrize(("left_s", "text"), [(60, "60"), (59.99, "59.99"), (0.5, "0.5")])
async def test_seconds_are_told_short(left_s: float, text: str) -> None:
    clock = FakeClock()
    client = gateway(clock, count=9, time_window=60)
    await client.get()
    clock.now += 60 - left_s
    assert (await client.get()).header("x-ratelimit-reset") == text


async def test_seconds_are_rounded_down() -> None:
    clock = FakeClock()
    client = gateway(clock, count=9, time_window=60)
    resets = []
    for passed_s in (0.0, 0.001, 0.099, 59.896):
        clock.advance(passed_s)
        resets.append((await client.get("/")).header("x-ratelimit-reset"))
    assert resets == ["60", "59.99", "59.9", "0"]
