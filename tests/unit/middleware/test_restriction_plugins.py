"""uri-blocker, ua-, referer- and consumer-restriction, client-control, real-ip."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.http.addresses import parse_address
from pingsix_asgi.middleware.client_control import ClientControl
from pingsix_asgi.middleware.consumer_restriction import ConsumerRestriction
from pingsix_asgi.middleware.ip_restriction import IPRestriction
from pingsix_asgi.middleware.key_auth import KeyAuth
from pingsix_asgi.middleware.real_ip import RealIp
from pingsix_asgi.middleware.referer_restriction import RefererRestriction
from pingsix_asgi.middleware.ua_restriction import UaRestriction
from pingsix_asgi.middleware.uri_blocker import UriBlocker
from pingsix_asgi.testing import Client, EchoApp, FakeConsumer, FakeConsumers, alone, together


@pytest.mark.parametrize(
    ("options", "target", "status"),
    [
        ({"block_rules": ["root.exe", "root.m+"]}, "/hello?name=root.exe", 403),
        ({"block_rules": ["root.exe", "root.m+"]}, "/%72oot.mmm", 403),
        ({"block_rules": ["^/admin"]}, "/user/admin", 200),
        ({"block_rules": ["SELECT"]}, "/?q=select", 200),
        ({"block_rules": ["SELECT"], "case_insensitive": True}, "/?q=select", 403),
        ({"block_rules": ["x"], "rejected_code": 406}, "/x", 406),
    ],
)
async def test_uri_blocker(options: dict[str, Any], target: str, status: int) -> None:
    assert (await Client(alone(UriBlocker, **options)).get(target)).status == status


async def test_uri_blocker_bodies() -> None:
    told = Client(alone(UriBlocker, block_rules=["x"], rejected_msg="access is not allowed"))
    assert (await told.get("/x")).json() == {"error_msg": "access is not allowed"}
    silent = await Client(alone(UriBlocker, block_rules=["x"])).get("/x")
    assert "403 Forbidden" in silent.text
    with pytest.raises(SchemaError, match="block_rules"):
        alone(UriBlocker, block_rules=["("])


@pytest.mark.parametrize(
    ("options", "agents", "status"),
    [
        ({"denylist": ["my-bot2"]}, ["my-bot2"], 403),
        ({"denylist": ["(Baiduspider)/(\\d+)\\.(\\d+)"]}, ["Baiduspider/3.0"], 403),
        ({"denylist": ["foo"]}, ["bar", "foo"], 403),
        ({"denylist": ["foo"]}, ["bar"], 200),
        ({"denylist": ["foo"]}, [], 403),
        ({"denylist": ["foo"], "bypass_missing": True}, [], 200),
        ({"allowlist": ["foo"]}, ["bar", " foo "], 200),
        ({"allowlist": ["^foo$"]}, [" foo "], 200),
        ({"allowlist": ["foo"]}, ["bar"], 403),
    ],
)
async def test_ua_restriction(options: dict[str, Any], agents: list[str], status: int) -> None:
    headers = [("user-agent", agent) for agent in agents]
    answer = await Client(alone(UaRestriction, **options)).get("/", headers)
    assert answer.status == status
    if status == 403:
        assert answer.json() == {"message": "Not allowed"}


@pytest.mark.parametrize(
    ("options", "referer", "status"),
    [
        ({"whitelist": ["*.xx.com", "yy.com"]}, "http://a.b.xx.com", 200),
        ({"whitelist": ["*.xx.com", "yy.com"]}, "https://yy.com/am?a=1", 200),
        ({"whitelist": ["*.xx.com", "yy.com"]}, "http://YY.com:80/", 200),
        ({"whitelist": ["*.xx.com", "yy.com"]}, "http://xx.com.evil", 403),
        ({"whitelist": ["yy.com"]}, None, 403),
        ({"whitelist": ["yy.com"], "bypass_missing": True}, None, 200),
        ({"whitelist": ["yy.com"], "bypass_missing": True}, "www.yy.com", 200),
        ({"blacklist": ["*.xx.com"]}, "http://www.xx.com", 403),
        ({"blacklist": ["*.xx.com"]}, "http://yy.com", 200),
    ],
)
async def test_referer_restriction(
    options: dict[str, Any], referer: str | None, status: int
) -> None:
    headers = {"referer": referer} if referer else {}
    answer = await Client(alone(RefererRestriction, **options)).get("/", headers)
    assert answer.status == status
    if status == 403:
        assert answer.json() == {"message": "Your referer host is not allowed"}


@pytest.mark.parametrize("plugin", [UaRestriction, RefererRestriction])
@pytest.mark.parametrize("both", [True, False])
def test_exactly_one_list(plugin: Any, both: bool) -> None:
    lists = ("allowlist", "denylist") if plugin is UaRestriction else ("whitelist", "blacklist")
    with pytest.raises(SchemaError, match="should match only one schema"):
        alone(plugin, **({key: ["x"] for key in lists} if both else {}))


KEYS = FakeConsumers(
    *(
        FakeConsumer(name, f"key-{name}", conf=KeyAuth.ConsumerConf(key=f"key-{name}"))
        for name in ("jack1", "jack2")
    )
)


@pytest.mark.parametrize(
    ("options", "method", "who", "expected"),
    [
        ({"whitelist": ["jack1"]}, "GET", "jack1", 200),
        ({"whitelist": ["jack1"]}, "GET", "jack2", 403),
        ({"blacklist": ["jack1"]}, "GET", "jack1", 403),
        ({"blacklist": ["jack1"]}, "GET", "jack2", 200),
        ({"allowed_by_methods": [{"user": "jack1", "methods": ["POST"]}]}, "GET", "jack1", 403),
        ({"allowed_by_methods": [{"user": "jack1", "methods": ["GET"]}]}, "GET", "jack1", 200),
        ({"allowed_by_methods": [{"user": "jack1", "methods": ["GET"]}]}, "PUT", "jack2", 200),
        ({"whitelist": ["jack1"], "rejected_code": 401}, "GET", "jack2", 401),
    ],
)
async def test_consumer_restriction(
    options: dict[str, Any], method: str, who: str, expected: int
) -> None:
    app = together({KeyAuth: {}, ConsumerRestriction: options}, consumers=KEYS)
    answer = await Client(app).request(method, "/", headers={"apikey": f"key-{who}"})
    assert answer.status == expected
    if expected != 200:
        assert answer.json() == {"message": "The consumer_name is forbidden."}


async def test_consumer_restriction_wants_a_consumer() -> None:
    answer = await Client(alone(ConsumerRestriction, whitelist=["a"])).get("/")
    text = "The request is rejected, please check the consumer_name for this request"
    assert (answer.status, answer.json()) == (401, {"message": text})


async def test_client_control_declared_and_streamed_lengths() -> None:
    client = Client(alone(ClientControl, max_body_size=5))
    sized = {"content-length": "6"}
    assert (await client.request("POST", "/", headers=sized, body=b"123456")).status == 413
    assert (await client.request("POST", "/", headers={"content-length": "5"})).status == 200
    assert (await client.request("POST", "/", headers={"content-length": "9" * 5000})).status == 413
    chunked = {"transfer-encoding": "chunked"}
    assert (await client.request("POST", "/", headers=chunked, body=[b"123", b"45"])).status == 200
    answer = await client.request("POST", "/", headers=chunked, body=[b"123", b"45", b"6"])
    assert answer.status == 413
    unlimited = Client(alone(ClientControl, max_body_size=0))
    assert (await unlimited.request("POST", "/", headers=sized, body=b"123456")).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_client_control_counts_what_http_2_does_not_declare(method: str) -> None:
    client = Client(alone(ClientControl, max_body_size=5), http_version="2")
    assert (await client.request(method, "/", body=[b"123", b"45"])).status == 200
    assert (await client.request(method, "/", body=[b"123", b"456"])).status == 413


@pytest.mark.parametrize(
    ("options", "target", "headers", "seen"),
    [
        ({"source": "http_xff"}, "/", {"xff": "1.1.1.1"}, ("1.1.1.1", 50000)),
        ({"source": "http_xff"}, "/", {"xff": "1.1.1.1:80"}, ("1.1.1.1", 80)),
        ({"source": "http_xff"}, "/", {"xff": "[::1]:81"}, ("::1", 81)),
        ({"source": "http_xff"}, "/", {"xff": "1.1.1.1:65536"}, ("127.0.0.1", 50000)),
        ({"source": "http_xff"}, "/", {"xff": "host"}, ("127.0.0.1", 50000)),
        ({"source": "http_xff"}, "/", {"xff": "fe80::1%eth0"}, ("127.0.0.1", 50000)),
        ({"source": "http_xff"}, "/", {}, ("127.0.0.1", 50000)),
        ({"source": "arg_ip"}, "/?ip=2.2.2.2", {}, ("2.2.2.2", 50000)),
        (
            {"source": "http_x_forwarded_for"},
            "/",
            {"x-forwarded-for": "3.3.3.3, 4.4.4.4"},
            ("4.4.4.4", 50000),
        ),
        (
            {"source": "http_xff", "trusted_addresses": ["10.0.0.0/8"]},
            "/",
            {"xff": "1.1.1.1"},
            ("127.0.0.1", 50000),
        ),
        (
            {
                "source": "http_x_forwarded_for",
                "trusted_addresses": ["127.0.0.0/8", "4.4.4.4"],
                "recursive": True,
            },
            "/",
            {"x-forwarded-for": "9.9.9.9, 3.3.3.3, 4.4.4.4"},
            ("3.3.3.3", 50000),
        ),
    ],
)
async def test_real_ip(
    options: dict[str, Any], target: str, headers: dict[str, str], seen: tuple[str, int]
) -> None:
    app = EchoApp()
    assert (await Client(alone(RealIp, app, **options)).get(target, headers)).status == 200
    assert tuple(app.scopes[-1]["client"]) == seen


async def test_restrictions_after_real_ip_judge_the_real_address() -> None:
    plugins: Any = {RealIp: {"source": "http_xff"}, IPRestriction: {"blacklist": ["6.6.6.6"]}}
    client = Client(together(plugins))
    assert (await client.get("/", {"xff": "6.6.6.6"})).status == 403
    assert (await client.get("/", {"xff": "6.6.6.7"})).status == 200


@pytest.mark.parametrize("text", ["", ":80", "1.2.3", "1.2.3.4:", "1.2.3.4:x", "[::1", "a:b:c"])
def test_bad_addresses(text: str) -> None:
    parsed = parse_address(text)
    assert parsed is None or parsed == ("1.2.3.4", None) or parsed == ("::1", None)
