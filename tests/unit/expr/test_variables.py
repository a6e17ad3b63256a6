"""Variables: every built-in one has a known value or none."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from pingsix_asgi.context import Context, ResponseHead
from pingsix_asgi.expr import response
from pingsix_asgi.expr.variables import getter, known_names, needs_body
from pingsix_asgi.http.headers import Headers
from support.contexts import make_context

FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


def read(name: str, ctx: Context) -> Any:
    return getter(name)(ctx)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "POST"),
        ("request_method", "POST"),
        ("uri", "/a b/c"),
        ("document_uri", "/a b/c"),
        ("request_uri", "/a%20b/c?x=1&y=%41&flag"),
        ("real_request_uri", "/a%20b//c?x=1&y=%41&flag"),
        ("request", "POST /a%20b//c?x=1&y=%41&flag HTTP/1.1"),
        ("args", "x=1&y=%41&flag"),
        ("query_string", "x=1&y=%41&flag"),
        ("is_args", "?"),
        ("arg_x", "1"),
        ("arg_y", "A"),
        ("arg_flag", ""),
        ("arg_none", None),
        ("host", "example.com"),
        ("http_host", "Example.com:8080"),
        ("scheme", "http"),
        ("https", ""),
        ("server_protocol", "HTTP/1.1"),
        ("http_x_many", "one, two"),
        ("http_X_Many", "one, two"),
        ("http_x-many", "one, two"),
        ("http_under_score", "kept"),
        ("http_nothing", None),
        ("http_cookie", "a=1; A=2; a=3"),
        ("cookie_a", "1"),
        ("cookie_A", "2"),
        ("cookie_none", None),
        ("content_type", "text/plain"),
        ("content_length", "12"),
        ("remote_addr", "192.0.2.7"),
        ("remote_port", "4711"),
        ("realip_remote_addr", "192.0.2.7"),
        ("remote_user", "ann"),
        ("server_addr", "198.51.100.1"),
        ("server_port", "8080"),
        ("server_name", "_"),
        ("proxy_add_x_forwarded_for", "203.0.113.9, 192.0.2.7"),
        ("original_x_forwarded_for", "203.0.113.9"),
        ("original_forwarded", None),
        ("uri_param_id", None),
        ("status", None),
        ("body_bytes_sent", "0"),
        ("upstream_addr", None),
        ("upstream_status", None),
        ("upstream_response_time", None),
        ("balancer_ip", None),
        ("route_id", None),
        ("consumer_name", None),
        ("ssl_protocol", None),
        ("ssl_client_verify", None),
        ("sent_http_x", None),
        ("no_such_variable", None),
        ("http_", None),
        ("", None),
    ],
)
def test_a_request_before_it_is_matched(name: str, value: object) -> None:
    ctx = make_context(
        "/a%20b//c?x=1&y=%41&flag",
        method="POST",
        headers=[
            ("Host", "Example.com:8080"),
            ("X-Many", "one"),
            ("x-many", "two"),
            ("under_score", "kept"),
            ("cookie", "a=1; A=2"),
            ("cookie", "a=3"),
            ("content-type", "text/plain"),
            ("content-length", "12"),
            ("authorization", "Basic YW5uOnNlY3JldA=="),
            ("x-forwarded-for", "203.0.113.9"),
        ],
    )
    assert read(name, ctx) == value


@pytest.mark.parametrize("name", known_names()[0])
def test_every_built_in_variable_can_be_read_from_a_bare_request(name: str) -> None:
    value = read(name, make_context(client=None, server=None, headers=[]))
    assert value is None or isinstance(value, str)


def test_what_plugins_rewrote_shows_in_what_goes_upstream_but_not_in_the_original() -> None:
    ctx = make_context("/old?a=1", scheme="wss", http_version="2")
    ctx.request.rewrite_path("/new path")
    ctx.request.query = b"b=2"
    ctx.request.client = ("203.0.113.1", 0)
    assert read("uri", ctx) == read("document_uri", ctx) == "/old"
    assert read("args", ctx) == "b=2"
    assert read("upstream_uri", ctx) == "/new%20path?b=2"
    assert read("request_uri", ctx) == "/old?a=1"
    assert read("remote_addr", ctx) == "203.0.113.1"
    assert read("realip_remote_addr", ctx) == "192.0.2.7"
    assert (read("scheme", ctx), read("https", ctx)) == ("https", "on")
    assert read("server_protocol", ctx) == "HTTP/2.0"


@pytest.mark.parametrize(
    "line", ["Basic !!!", "Basic YW5u", "Bearer YW5uOng=", "Basic", "Basic OnNlY3JldA=="]
)
def test_no_remote_user_without_sound_basic_credentials(line: str) -> None:
    assert read("remote_user", make_context(headers={"authorization": line})) is None


def test_variables_of_plugins_win_and_unknown_ones_come_from_them_alone() -> None:
    ctx = make_context("/?x=1")
    assert read("rate_limiting_info", ctx) is None
    ctx.set_var("rate_limiting_info", ["a"])
    ctx.set_var("arg_x", "mine")
    ctx.set_var("uri", None)
    assert read("rate_limiting_info", ctx) == ["a"]
    assert read("arg_x", ctx) == "mine"
    assert read("uri", ctx) is None


def test_a_request_id_is_made_once() -> None:
    ctx = make_context()
    first = read("request_id", ctx)
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert read("request_id", ctx) == first
    assert read("apisix_request_id", ctx) == first
    assert read("request_id", make_context()) != first
    ctx.set_var("apisix_request_id", "from the plugin")
    assert read("apisix_request_id", ctx) == "from the plugin"


def test_matched_objects_consumer_and_parameters() -> None:
    ctx = make_context()
    info = SimpleNamespace(route_id="7", route_name="", service_id="s", service_name="shop")
    ctx.match = SimpleNamespace(info=info)  # type: ignore[assignment]
    ctx.consumer = SimpleNamespace(username="jack", group_id=None)  # type: ignore[assignment]
    ctx.params = {"id": "5"}
    names = ("route_id", "route_name", "service_id", "service_name", "consumer_name")
    assert [read(name, ctx) for name in names] == ["7", None, "s", "shop", "jack"]
    assert read("consumer_group_id", ctx) is None
    assert read("uri_param_id", ctx) == "5"


def exchange(**fields: Any) -> SimpleNamespace:
    known = {
        "addr": ["10.0.0.1:80", "10.0.0.2:80"],
        "statuses": [502, 200],
        "connect_s": 0.0,
        "header_s": 0.01249,
        "response_s": None,
        "bytes_in": 99,
    }
    return SimpleNamespace(**{**known, **fields})


def test_the_exchange_with_the_upstream() -> None:
    ctx = make_context(headers={"host": "example.com"})
    ctx.upstream = exchange()
    ctx.node = SimpleNamespace(address="10.0.0.2", host="svc.local", port=8080, is_local=False)
    expected = {
        "upstream_addr": "10.0.0.1:80, 10.0.0.2:80",
        "upstream_status": "502, 200",
        "upstream_connect_time": "0.000",
        "upstream_header_time": "0.012",
        "upstream_response_time": None,
        "upstream_bytes_received": "99",
        "balancer_ip": "10.0.0.2",
        "balancer_port": "8080",
        "upstream_unresolved_host": "svc.local",
        "upstream_host": "example.com",
        "upstream_scheme": None,
    }
    assert {name: read(name, ctx) for name in expected} == expected
    ctx.node.is_local = True
    assert read("balancer_ip", ctx) is None


@pytest.mark.parametrize(
    ("pass_host", "port", "host"),
    [
        ("pass", 80, "example.com:8080"),
        ("rewrite", 80, "api.internal"),
        ("node", 80, "svc.local"),
        ("node", 8080, "svc.local:8080"),
    ],
)
def test_the_host_for_the_upstream(pass_host: str, port: int, host: str) -> None:
    ctx = make_context(headers={"host": "example.com:8080"})
    upstream = SimpleNamespace(scheme="http", pass_host=pass_host, upstream_host="api.internal")
    ctx.target = SimpleNamespace(upstream=upstream)  # type: ignore[assignment]
    ctx.node = SimpleNamespace(address="10.0.0.2", host="svc.local", port=port, is_local=False)
    assert (read("upstream_host", ctx), read("upstream_scheme", ctx)) == (host, "http")


def test_the_response() -> None:
    ctx = make_context()
    headers = Headers([(b"content-type", b"text/plain"), (b"set-cookie", b"a"), (b"via", b"x")])
    ctx.response = ResponseHead(404, headers, from_upstream=False)
    ctx.bytes_sent = 10
    assert read("status", ctx) == "404"
    assert read("sent_http_content_type", ctx) == "text/plain"
    assert read("upstream_http_content_type", ctx) is None
    assert read("body_bytes_sent", ctx) == "10"
    assert int(read("bytes_sent", ctx)) > 10 + len("content-type: text/plain\r\n")
    ctx.response = ResponseHead(200, headers, from_upstream=True)
    assert read("upstream_http_content_type", ctx) == "text/plain"


def test_the_status_of_a_request_that_got_no_response() -> None:
    ctx = make_context()
    ctx.status = 499
    assert read("status", ctx) == "499"


def test_times(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = SimpleNamespace(monotonic=lambda: 105.5, time=lambda: 1_790_000_000.25)
    monkeypatch.setattr(response, "clock", fixed)
    ctx = make_context()
    ctx.started = 104.0
    assert read("request_time", ctx) == "1.500"
    assert read("msec", ctx) == "1790000000.250"
    assert re.fullmatch(r"2[01]/Sep/2026:\d\d:\d\d:\d\d [+-]\d{4}", read("time_local", ctx))
    assert re.fullmatch(r"2026-09-2[01]T\d\d:\d\d:\d\d[+-]\d\d:\d\d", read("time_iso8601", ctx))


def test_request_length_counts_line_headers_and_announced_body() -> None:
    ctx = make_context("/a", headers={"host": "h", "content-length": "100"})
    wire = b"GET /a HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\n"
    assert read("request_length", ctx) == str(len(wire) + 100)


def test_tls() -> None:
    tls = {
        "tls_version": 0x0304,
        "cipher_suite": 0x1301,
        "client_cert_name": "CN=ann",
        "client_cert_chain": ["pem"],
        "client_cert_error": None,
    }
    ctx = make_context(extensions={"tls": tls})
    assert read("ssl_protocol", ctx) == "TLSv1.3"
    assert read("ssl_cipher", ctx) == "TLS_AES_128_GCM_SHA256"
    assert read("ssl_client_s_dn", ctx) == "CN=ann"
    assert read("ssl_client_verify", ctx) == "SUCCESS"
    tls.update(cipher_suite=0xABCD, client_cert_chain=[], client_cert_error="expired")
    assert read("ssl_cipher", ctx) == "0xabcd"
    assert read("ssl_client_verify", ctx) == "FAILED:expired"
    tls.update(client_cert_error=None)
    assert read("ssl_client_verify", ctx) == "NONE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("post_arg_a", "1"),
        ("post_arg_b", "x y"),
        ("post_arg_none", None),
        ("post_arg.a", ["1", "2"]),
        ("post_arg.b", "x y"),
        ("request_body", "a=1&b=x+y&a=2"),
    ],
)
def test_form_fields(name: str, value: object) -> None:
    ctx = make_context(method="POST", headers=FORM, body=b"a=1&b=x+y&a=2")
    assert read(name, ctx) == value
    assert read(name, make_context(method="POST", headers=FORM)) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("post_arg.model", "m"),
        ("post_arg.user.id", 7),
        ("post_arg.user.none", None),
        ("post_arg.model.deeper", None),
        ("post_arg.list", [1, 2]),
        ("post_arg.messages[*].role", ["user", "system"]),
        ("post_arg.messages[1].role", ["system"]),
        ("post_arg.messages[9].role", None),
        ("post_arg..role", ["user", "system"]),
        ("post_arg.[", None),
        ("post_arg_model", None),
    ],
)
def test_json_fields(name: str, value: object) -> None:
    body = (
        b'{"model":"m","user":{"id":7},"list":[1,2],"messages":[{"role":"user"},{"role":"system"}]}'
    )
    ctx = make_context(method="POST", headers={"content-type": "application/json"}, body=body)
    assert read(name, ctx) == value


def test_a_replaced_body_is_parsed_anew_and_a_broken_one_has_no_fields() -> None:
    ctx = make_context(
        method="POST", headers={"content-type": "application/vnd.api+json"}, body=b'{"a":1}'
    )
    assert read("post_arg.a", ctx) == 1
    ctx.replace_body(b'{"a":2}')
    assert read("post_arg.a", ctx) == 2
    for broken in (b"{", b"[" * 100_000, b"[1]", b"\xff"):
        ctx.replace_body(broken)
        assert read("post_arg.a", ctx) is None


def test_multipart_fields() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    ctx = make_context(method="POST", headers=kind, body=body)
    assert read("post_arg.a", ctx) == "1"


@pytest.mark.parametrize(
    ("subject", "needs"),
    [
        ("uri", False),
        ("post_arg_x", True),
        ("post_arg.x", True),
        ("graphql_name", True),
        ("request_body", True),
        ([], False),
        ([["uri", "==", "post_arg_x"]], False),
        ([["uri", "==", "/"], ["post_arg_x", "==", "1"]], True),
        (["or", ["uri", "==", "/"], ["AND", ["post_arg.x", "==", "1"], ["a", "1"]]], True),
        ([["arg_a", "in", ["post_arg_x"]]], False),
        (None, False),
    ],
)
def test_what_needs_the_body(subject: Any, needs: bool) -> None:
    assert needs_body(subject) is needs


async def test_read_body_is_what_makes_body_variables_known() -> None:
    ctx = make_context(method="POST", headers=FORM)
    messages: list[Any] = [
        {"type": "http.request", "body": b"=2", "more_body": False},
        {"type": "http.request", "body": b"a", "more_body": True},
    ]

    async def receive() -> Any:
        return messages.pop()

    ctx.receive = receive
    assert read("post_arg_a", ctx) is None
    await ctx.read_body(100)
    assert read("post_arg_a", ctx) == "2"


def test_graphql_variables() -> None:
    json_type = {"content-type": "application/json"}
    body = b'{"query":"query A{a} mutation B{b c}","operationName":"B"}'
    ctx = make_context(method="POST", headers=json_type, body=body)
    names = ("graphql_name", "graphql_operation", "graphql_root_fields")
    assert [read(name, ctx) for name in names] == ["B", "mutation", ["b", "c"]]
    ctx = make_context("/?query=%7Bx%7D")
    assert [read(name, ctx) for name in names] == ["", "query", ["x"]]
    ctx = make_context(method="POST", body=b"subscription S{s}")
    assert [read(name, ctx) for name in names] == ["S", "subscription", ["s"]]
    for ctx in (
        make_context(method="POST"),
        make_context(method="PUT", body=b"{a}"),
        make_context(method="POST", body=b"{a"),
        make_context(method="POST", headers=json_type, body=b'{"query":5}'),
        make_context(method="POST", body=b" " * 2_000_000),
    ):
        assert [read(name, ctx) for name in names] == [None, None, None]
