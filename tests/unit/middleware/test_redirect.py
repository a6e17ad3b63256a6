"""redirect: fixed, templated and rewritten locations, https."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.adapters import LoneHost
from pingsix_asgi.context import Context, Request
from pingsix_asgi.errors import SchemaError
from pingsix_asgi.http.addresses import AddressSet
from pingsix_asgi.middleware.redirect import Redirect
from pingsix_asgi.plugin.surroundings import Surroundings
from pingsix_asgi.testing import Client, EchoApp, FakeClock, alone


@pytest.mark.parametrize(
    ("options", "target", "status", "location"),
    [
        ({"uri": "/new"}, "/hello?a=1", 302, "/new"),
        ({"uri": "/new", "ret_code": 301}, "/hello", 301, "/new"),
        ({"uri": "$uri/test/add"}, "/hello", 302, "/hello/test/add"),
        ({"uri": "${uri}_x"}, "/hello", 302, "/hello_x"),
        ({"uri": "/foo$$uri"}, "/hello", 302, "/foo$/hello"),
        ({"uri": "/foo\\$uri"}, "/hello", 302, "/foo\\$uri"),
        ({"uri": "$uri/\\$uri\\x"}, "/%5Ca", 302, "/%5Ca/\\$uri\\x"),
        ({"uri": "$uri/"}, "/%5Cother.test/x", 302, "/%5Cother.test/x/"),
        ({"uri": "$uri", "encode_uri": True}, "/%5Cother.test/x", 302, "/%5Cother.test/x"),
        ({"uri": "/$arg_x"}, "/?x=%5Cother.test", 302, "/%5Cother.test"),
        ({"regex_uri": ["^/old/(.*)", "/$1"]}, "/old/%5Cother.test", 302, "/%5Cother.test"),
        ({"uri": "/$nosuch/x"}, "/hello", 302, "//x"),
        ({"uri": "https://other.test/x"}, "/hello", 302, "https://other.test/x"),
        ({"uri": "/x", "append_query_string": True}, "/hello?a=1&b", 302, "/x?a=1&b"),
        ({"uri": "/x?c=2", "append_query_string": True}, "/hello?a=1", 302, "/x?c=2&a=1"),
        ({"uri": "/x", "append_query_string": True}, "/hello", 302, "/x"),
        ({"uri": "/hello world", "encode_uri": True}, "/", 302, "/hello%20world"),
        ({"uri": "/a$arg_x"}, "/?x=%0d%0aset-cookie:b", 302, "/a%0D%0Aset-cookie:b"),
        ({"uri": "/é"}, "/", 302, "/%C3%A9"),
        ({"regex_uri": ["^/test/(.*)", "/$1"]}, "/test/a/b?c=1", 302, "/a/b"),
        ({"regex_uri": ["^/test/(.*)", "/$1$2-${12}-$$2"]}, "/test/a", 302, "/a--$2"),
        (
            {"regex_uri": ["^/(\\d+)/(\\w+)", "http://x.test/${2}/${1}"]},
            "/5/a",
            302,
            "http://x.test/a/5",
        ),
        ({"regex_uri": ["^/no", "/x", "^/yes", "/y"]}, "/yes", 302, "/y"),
        ({"regex_uri": ["^/t(.*)", "/$1"], "append_query_string": True}, "/tx?a=1", 302, "/x?a=1"),
    ],
)
async def test_locations(options: Any, target: str, status: int, location: str) -> None:
    answer = await Client(alone(Redirect, **options)).get(target)
    assert (answer.status, answer.header("location")) == (status, location)


async def test_a_pattern_that_does_not_match_lets_the_request_pass() -> None:
    answer = await Client(alone(Redirect, regex_uri=["^/x", "/y"])).get("/hello")
    assert (answer.status, answer.text) == (200, "hello")


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308), ("PUT", 308)]
)
async def test_https_keeps_the_method(method: str, status: int) -> None:
    client = Client(alone(Redirect, http_to_https=True, ret_code=302), host="Foo.test:8080")
    answer = await client.request(method, "/a%20b?c=1")
    assert (answer.status, answer.header("location")) == (status, "https://foo.test/a%20b?c=1")


async def test_https_requests_pass_and_only_trusted_proxies_may_claim_it() -> None:
    assert (await Client(alone(Redirect, http_to_https=True), scheme="https").get()).status == 200
    claim = {"x-forwarded-proto": "https"}
    assert (await Client(alone(Redirect, http_to_https=True)).get("/", claim)).status == 301
    trusting = alone(Redirect, http_to_https=True, trusted_proxies=["127.0.0.0/8"])
    assert (await Client(trusting).get("/", claim)).status == 200
    answer = await Client(alone(Redirect, http_to_https=True, redirect_host="x.test")).get("/a")
    assert answer.header("location") == "https://x.test/a"


@pytest.mark.parametrize(
    ("options", "location"),
    [
        ({}, "https://a.test:8443/"),
        ({"https_port": 9443}, "https://a.test:9443/"),
        ({"https_port": 443}, "https://a.test/"),
        ({"redirect_host": "b.test"}, "https://b.test/"),
    ],
)
async def test_the_gateway_tells_its_port_and_whom_it_trusts(options: Any, location: str) -> None:
    plugin = Redirect(Redirect.Conf(http_to_https=True, **options))
    around = Surroundings(AddressSet(["127.0.0.0/8"]), 8443)
    plugin.setup(LoneHost(Redirect, FakeClock(), {Surroundings: around}))
    for sent, expected in ((b"https", None), (b"HTTPS", None), (b"http", location)):
        scope = {"type": "http", "method": "GET", "headers": [(b"x-forwarded-proto", sent)]}
        scope |= {"scheme": "http", "client": ("127.0.0.1", 5), "path": "/", "raw_path": b"/"}
        request = Request(scope, "/", b"/", "a.test")
        reply = plugin.rewrite(Context(scope, None, None, request))  # type: ignore[arg-type]  # unused
        found = None if reply is None else dict(reply.headers)[b"location"].decode()
        assert found == expected, sent


async def test_http_to_https_false_does_nothing() -> None:
    assert (await Client(alone(Redirect, EchoApp(), http_to_https=False)).get()).status == 200


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "value should match only one schema, but matches none"),
        ({"uri": "/x", "http_to_https": True}, "matches both schemas 1 and 3"),
        ({"uri": "/x", "regex_uri": ["a", "b"]}, "matches both schemas 1 and 2"),
        ({"uri": "/"}, "string too short"),
        ({"uri": "/x", "ret_code": 19}, "expected 19 to be at least 200"),
        ({"http_to_https": True, "append_query_string": True}, "only one of `http_to_https`"),
        ({"regex_uri": ["^/a"]}, "expect array to have at least 2 items"),
        ({"regex_uri": []}, "expect array to have at least 2 items"),
        ({"regex_uri": ["^/a", "/b", "^/c"]}, "even number"),
        ({"regex_uri": ["^/(", "/b"]}, r"invalid regex_uri \(\^/\(, /b\), err:"),
        ({"regex_uri": ["^/(", "/x"]}, "invalid regex_uri"),
        (
            {"regex_uri": ["^/(.*)", "/$`1"]},
            r"regex_uri \(\^/\(\.\*\), /\$`1\), err:failed to compile the replacement template",
        ),
        ({"regex_uri": ["^/(.*)", "/${1"]}, "failed to compile the replacement"),
        ({"regex_uri": ["^/(.*)", "/$name"]}, "failed to compile the replacement"),
        ({"uri": "/x", "trusted_proxies": ["x"]}, "trusted_proxies"),
    ],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        alone(Redirect, **options)
