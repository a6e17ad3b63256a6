"""ip-restriction: lists, forwarded addresses, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware.ip_restriction import IPRestriction
from pingsix_asgi.testing import Client, alone


@pytest.mark.parametrize(
    ("options", "address", "passes"),
    [
        ({"whitelist": ["127.0.0.1"]}, "127.0.0.1", True),
        ({"whitelist": ["127.0.0.1"]}, "127.0.0.2", False),
        ({"whitelist": ["10.0.0.0/8", "::1"]}, "10.200.3.4", True),
        ({"whitelist": ["10.0.0.0/8", "::1"]}, "::1", True),
        ({"whitelist": ["10.0.0.0/8"]}, "::ffff:10.1.2.3", True),
        ({"whitelist": ["2001:db8::/32"]}, "2001:db9::1", False),
        ({"blacklist": ["127.0.0.0/24"]}, "127.0.0.5", False),
        ({"blacklist": ["127.0.0.0/24"]}, "127.0.1.5", True),
        ({"blacklist": ["127.0.0.0/24"]}, "", True),
        ({"whitelist": ["127.0.0.0/24"]}, "not an address", False),
    ],
)
async def test_lists(options: Any, address: str, passes: bool) -> None:
    client = Client(alone(IPRestriction, **options))
    for _ in range(2):  # the second verdict is remembered
        answer = await client.request("GET", "/", address=address)
        assert (answer.status == 200) is passes


async def test_the_refusal() -> None:
    answer = await Client(alone(IPRestriction, blacklist=["127.0.0.1"])).get()
    assert answer.status == 403
    assert answer.body == b'{"message":"Your IP address is not allowed"}\n'
    other = alone(IPRestriction, blacklist=["127.0.0.1"], message="no", response_code=404)
    answer = await Client(other).get()
    assert (answer.status, answer.json()) == (404, {"message": "no"})


TRUSTING: dict[str, Any] = {
    "whitelist": ["1.1.1.1"],
    "use_forwarded_headers": True,
    "trusted_proxies": ["127.0.0.0/8"],
}


@pytest.mark.parametrize(
    ("options", "headers", "passes"),
    [
        ({}, {}, False),
        ({}, {"x-forwarded-for": "1.1.1.1"}, True),
        ({}, {"x-forwarded-for": "1.1.1.1, 2.2.2.2"}, False),
        ({}, {"x-forwarded-for": "2.2.2.2, 1.1.1.1, 127.0.0.9"}, True),
        ({}, {"x-real-ip": "1.1.1.1"}, True),
        ({}, {"x-real-ip": "junk"}, False),
        ({}, {"x-forwarded-for": "junk", "x-real-ip": "1.1.1.1"}, False),
        ({"whitelist": ["127.0.0.1"]}, {"x-forwarded-for": "junk"}, True),
        (
            {"whitelist": ["127.0.0.1"], "forwarded_header_error_policy": "deny"},
            {"x-forwarded-for": "1.1.1.1/8"},
            False,
        ),
        ({"trusted_proxies": ["9.9.9.9"]}, {"x-forwarded-for": "1.1.1.1"}, False),
        ({"use_forwarded_headers": False}, {"x-forwarded-for": "1.1.1.1"}, False),
    ],
)
async def test_forwarded_addresses(options: Any, headers: dict[str, str], passes: bool) -> None:
    answer = await Client(alone(IPRestriction, **{**TRUSTING, **options})).get("/", headers)
    assert (answer.status == 200) is passes


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "value should match only one schema, but matches none"),
        ({"whitelist": ["1.1.1.1"], "blacklist": ["1.1.1.2"]}, "matches both schemas 1 and 2"),
        ({"whitelist": []}, "expect array to have at least 1 items"),
        ({"blacklist": ["300.1.1.1"]}, "object matches none of the required"),
        ({"blacklist": ["1.1.1.1/33"]}, "object matches none of the required"),
        ({"whitelist": ["1.1.1.1"], "message": ""}, "string too short"),
        ({"whitelist": ["1.1.1.1"], "message": "x" * 1025}, "string too long"),
        ({"whitelist": ["1.1.1.1"], "response_code": 405}, "expected 405 to be at most 404"),
    ],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        alone(IPRestriction, **options)
