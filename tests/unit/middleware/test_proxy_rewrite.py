"""proxy-rewrite: URI, method, host and headers of what goes to the target."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware.proxy_rewrite import ProxyRewrite
from pingsix_asgi.testing import Client, EchoApp, alone

UNSAFE = {"use_real_request_uri_unsafe": True}


@pytest.mark.parametrize(
    ("options", "target", "path", "query"),
    [
        ({"uri": "/new"}, "/old", b"/new", b""),
        ({"uri": "/new"}, "/old?a=1", b"/new", b"a=1"),
        ({"uri": "/new?c=2"}, "/old?a=1", b"/new", b"c=2&a=1"),
        ({"uri": "/new?c=2"}, "/old", b"/new", b"c=2"),
        ({"uri": "/$arg_x/y"}, "/old?x=a%3Fb", b"/a%253Fb/y", b"x=a%3Fb"),
        ({"uri": "/n?q=$arg_x"}, "/old?x=a%20%0d%0ab", b"/n", b"q=a%20%0D%0Ab&x=a%20%0d%0ab"),
        ({"uri": "/a b"}, "/old", b"/a%20b", b""),
        ({"uri": "/$nosuch"}, "/old", b"/", b""),
        ({"regex_uri": ["^/test/(.*)/(.*)", "/$1_$2"]}, "/test/a/b?c=1", b"/a_b", b"c=1"),
        ({"regex_uri": ["/b", "/X"]}, "/a/b/c/b", b"/a/X/c/b", b""),
        ({"regex_uri": ["^/no", "/x", "^/yes", "/y", "^/", "/z"]}, "/yes", b"/y", b""),
        ({"regex_uri": ["^/no", "/x"]}, "/yes?a=1", b"/yes", b"a=1"),
        ({"regex_uri": ["^/t/(.*)", "/n?v=$1"]}, "/t/5?a=1", b"/n", b"v=5&a=1"),
        ({"regex_uri": ["^/t/(.*)", "/n/$1"]}, "/t/a%3Fb", b"/n/a%3Fb", b""),
        ({"uri": "/wins", "regex_uri": ["^/", "/x"]}, "/old", b"/wins", b""),
        ({**UNSAFE}, "/a%2Fb//c?x=%20", b"/a%2Fb//c", b"x=%20"),
        ({"uri": "/u?c=1", **UNSAFE}, "/a?x=1", b"/u", b"c=1&x=1"),
        ({"regex_uri": ["^/a(.*)", "/b$1"], **UNSAFE}, "/a%2Fb?x=1", b"/b%2Fb", b"x=1"),
    ],
)
async def test_uris(options: Any, target: str, path: bytes, query: bytes) -> None:
    app = EchoApp()
    await Client(alone(ProxyRewrite, app, **options)).get(target)
    assert (app.scopes[0]["raw_path"], app.scopes[0]["query_string"]) == (path, query)


async def test_method_and_host() -> None:
    app = EchoApp()
    await Client(alone(ProxyRewrite, app, method="POST", host="a.test:81")).get()
    assert app.scopes[0]["method"] == "POST"
    assert app.header("host") == "a.test:81"


@pytest.mark.parametrize(
    ("headers", "sent", "name", "expected"),
    [
        ({"X-Api": "v2"}, {"x-api": "v1"}, "x-api", "v2"),
        ({"X-Api": "v2"}, {"x-api": ""}, "x-api", "v2"),
        ({"X-N": 3}, {}, "x-n", "3"),
        ({"set": {"X-A": "$remote_addr-${arg_v ?? none}"}}, {}, "x-a", "127.0.0.1-none"),
        ({"set": {"X-A": "[$nosuch]"}}, {}, "x-a", "[]"),
        ({"X-A": ""}, {"x-a": "1"}, "x-a", None),
        ({"set": {"X-A": "$http_nosuch"}}, {"x-a": "1"}, "x-a", None),
        ({"set": {"X-A": ["", "$nosuch", "2"]}}, {"x-a": "1"}, "x-a", "2"),
        ({"add": {"X-A": "$nosuch"}}, {}, "x-a", None),
        ({"add": {"X-A": ["", "2"]}}, {"x-a": "1"}, "x-a", "1, 2"),
        ({"set": {"X-A": ["1", 2]}}, {"x-a": "0"}, "x-a", "1, 2"),
        ({"add": {"X-A": "2"}}, {"x-a": "1"}, "x-a", "1, 2"),
        ({"add": {"X-A": ["2", "3"]}}, {}, "x-a", "2, 3"),
        ({"add": {"X-A": "2"}, "set": {"X-A": "3"}}, {"x-a": "1"}, "x-a", "3"),
        ({"set": {"X-A": "3"}, "remove": ["X-A"]}, {"x-a": "1"}, "x-a", None),
        ({"remove": ["X-A", "x-b"]}, {"x-a": "1"}, "x-a", None),
        ({"set": {"X-A": "$http_evil"}}, {"evil": "a\x01b"}, "x-a", "a%01b"),
    ],
)
async def test_headers(headers: Any, sent: dict[str, str], name: str, expected: str | None) -> None:
    app = EchoApp()
    await Client(alone(ProxyRewrite, app, headers=headers)).get("/", sent)
    assert app.header(name) == expected


async def test_line_breaks_from_a_variable_are_encoded() -> None:
    app = EchoApp()
    options = {"headers": {"set": {"X-A": "$arg_v"}}}
    await Client(alone(ProxyRewrite, app, **options)).get("/?v=a%0d%0ab:c")
    assert app.header("x-a") == "a%0D%0Ab:c"


async def test_captures_in_header_values_are_never_read_as_templates() -> None:
    app = EchoApp()
    options = {
        "regex_uri": ["^/u/([^/]*)/(.*)", "/$2"],
        "headers": {"set": {"X-User": "<$1>", "X-Both": "${2}-$remote_addr"}},
    }
    await Client(alone(ProxyRewrite, app, **options)).get("/u/$remote_addr/x")
    assert app.scopes[0]["path"] == "/x"
    assert app.header("x-user") == "<$remote_addr>"
    assert app.header("x-both") == "x-127.0.0.1"
    await Client(alone(ProxyRewrite, app, **options)).get("/else")
    assert app.header("x-user") == "<>"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "expect object to have at least 1 properties"),
        ({"uri": "home"}, "failed to match pattern"),
        ({"uri": ""}, "string too short"),
        ({"uri": "/" + "x" * 4096}, "string too long"),
        ({"regex_uri": ["^/a"]}, "at least 2 items"),
        ({"regex_uri": ["^/a", "/b", "^/c"]}, "even number"),
        ({"regex_uri": ["^/(a", "/b"]}, "invalid regex_uri"),
        ({"regex_uri": ["^/(a)", "/$`1"]}, r"invalid regex_uri\(\^/\(a\), /\$`1\): "),
        ({"method": "GET1"}, "matches none of the enum values"),
        ({"host": "a b"}, "failed to match pattern"),
        ({"headers": {}}, "at least 1"),
        ({"headers": {"": "x"}}, "invalid field length in header"),
        ({"headers": {"a:b": "x"}}, "invalid field character in header"),
        ({"headers": {"a": {}}}, "invalid type as header value"),
        ({"headers": {"a": "x\r\n"}}, "invalid value character in header"),
        ({"headers": {"set": {"a": {}}}}, "headers"),
    ],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        alone(ProxyRewrite, **options)
