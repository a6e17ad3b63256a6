"""Which route a request gets: paths, hosts, methods, clients, variables, priorities, status."""

from __future__ import annotations

from typing import Any

import pytest

from support.conformance import Bench
from support.conformance_core import Step, ask, delete, node, patch, put, route, run

NOT_FOUND: dict[str, Any] = {"status": 404, "text": '{"error_msg":"404 Route Not Found"}\n'}


FORM = '--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nopenai\r\n--b--\r\n'


def at(name: str, uri: str = "/a", **fields: Any) -> dict[str, Any]:
    """Return a route to one node."""
    return route(uri, upstream=node(name), **fields)


def hit(name: str, target: str, **options: Any) -> Step:
    return ask(target, has={"node": name}, **options)


def miss(target: str, **options: Any) -> Step:
    return ask(target, **NOT_FOUND, **options)


def host(name: str) -> dict[str, dict[str, str]]:
    return {"headers": {"Host": name}}


CASES: dict[str, list[Step]] = {
    "exact paths": [
        put("routes/1", at("A", "/a")),
        put("routes/2", at("B", "/a/b")),
        hit("A", "/a"), hit("A", "/a?x=1"), hit("B", "/a/b"),
        miss("/a/"), miss("/A"), miss("/ab"), miss("/"), miss("/not_found"),
        hit("A", "/%61"), hit("B", "/a//b"), hit("B", "/a/./x/../b"),
    ],
    "prefixes": [
        put("routes/1", at("A", "/foo*")),
        put("routes/2", at("B", "/blog/*")),
        put("routes/3", at("C", "/blog/exact")),
        hit("A", "/foo"), hit("A", "/foobar"), hit("A", "/foo/bar"), miss("/fo"),
        hit("B", "/blog/"), hit("B", "/blog/x/y"), miss("/blog"),
        hit("C", "/blog/exact"), hit("B", "/blog/exact/"),
    ],
    "the longest prefix first, then shorter ones": [
        put("routes/1", at("A", "/*")),
        put("routes/2", at("B", "/api/*", methods=["POST"])),
        put("routes/3", at("C", "/api/v1/*", vars=[["arg_v", "==", "1"]])),
        hit("C", "/api/v1/x?v=1"), hit("A", "/api/v1/x"),
        hit("B", "/api/v1/x", method="POST"), hit("A", "/else"), hit("A", "/"),
    ],
    "an exact path goes before a prefix of higher priority": [
        put("routes/1", at("A", "/*", priority=10)),
        put("routes/2", at("B", "/exact")),
        hit("B", "/exact"), hit("A", "/exact2"),
    ],
    "priority among equal paths": [
        put("routes/1", at("A", "/a", priority=1)),
        put("routes/2", at("B", "/a", priority=2)),
        put("routes/3", at("C", "/a", priority=-1)),
        hit("B", "/a"),
        delete("routes/2"),
        hit("A", "/a"),
        patch("routes/1", {"priority": -2}),
        hit("C", "/a"),
    ],
    "a star inside": [
        put("routes/1", at("A", "/static/*/js/*")),
        hit("A", "/static/v1/js/x.js"), hit("A", "/static/a/b/js/x"), miss("/static/v1/css/x"),
    ],
    "segments by name, in both spellings": [
        put("routes/1", at("A", "/name/:name/bar")),
        put("routes/2", at("B", "/user/{id}", plugins={
            "response-rewrite": {"headers": {"set": {"x-id": "$uri_param_id"}}}})),
        put("routes/3", at("C", "/rest/{*path}")),
        hit("A", "/name/json/bar"), miss("/name/json2/foo"), miss("/name/json/"),
        miss("/name//bar"), miss("/name/a/b/bar"),
        hit("B", "/user/7", answer={"x-id": "7"}), miss("/user/"), miss("/user/7/x"),
        hit("C", "/rest/a/b"), miss("/rest/"),
    ],
    "a colon inside a segment is a character": [
        put("routes/1", at("A", "/file:list")),
        hit("A", "/file:list"), miss("/file:xx"),
    ],
    "several paths": [
        put("routes/1", {"uris": ["/x", "/y/*"], "upstream": node("A")}),
        hit("A", "/x"), hit("A", "/y/z"), miss("/z"),
    ],
    "a path without a slash matches nothing": [
        put("routes/1", at("A", "1")),
        miss("/1"),
    ],
    "hosts": [
        put("routes/1", at("A", "/a", host="foo.com")),
        put("routes/2", at("B", "/a", hosts=["*.bar.com", "BAR.com"])),
        put("routes/3", at("C", "/c")),
        hit("A", "/a", **host("foo.com")), hit("A", "/a", **host("FOO.com:9080")),
        hit("B", "/a", **host("x.bar.com")), hit("B", "/a", **host("x.y.bar.com")),
        hit("B", "/a", **host("bar.com")), hit("B", "/a", **host(".bar.com")),
        miss("/a", **host("x.foo.com")), miss("/a"), miss("/a", **host("xbar.com")),
        hit("C", "/c", **host("foo.com")), hit("C", "/c"),
    ],
    "the nearest host first, then others, then none": [
        put("routes/1", at("A", "/*", host="*.test.com")),
        put("routes/2", at("B", "/only", host="www.test.com")),
        put("routes/3", at("C", "/*")),
        hit("B", "/only", **host("www.test.com")), hit("A", "/else", **host("www.test.com")),
        hit("A", "/only", **host("api.test.com")), hit("C", "/only", **host("test.com")),
    ],
    "a host with a port is compared with it": [
        put("routes/1", at("A", "/a", host="foo.com:8443")),
        hit("A", "/a", **host("foo.com:8443")), miss("/a", **host("foo.com")),
    ],
    "hosts of the service, unless the route has its own": [
        put("services/1", {"upstream": node("A"), "hosts": ["bar.com"]}),
        put("routes/1", {"uri": "/a", "service_id": "1"}),
        put("routes/2", {"uri": "/b", "service_id": 1, "host": "foo.com"}),
        put("routes/3", at("B", "/a", priority=-1)),
        hit("A", "/a", **host("bar.com")), hit("B", "/a", **host("foo.com")),
        hit("A", "/b", **host("foo.com")), miss("/b", **host("bar.com")),
        patch("services/1", {"hosts": ["new.com"]}),
        hit("A", "/a", **host("new.com")), hit("B", "/a", **host("bar.com")),
    ],
    "methods": [
        put("routes/1", at("A", "/a", methods=["GET"])),
        put("routes/2", at("B", "/a", methods=["POST", "PURGE"])),
        put("routes/3", at("C", "/c")),
        hit("A", "/a"), hit("B", "/a", method="POST"), hit("B", "/a", method="PURGE"),
        miss("/a", method="PUT"), hit("C", "/c", method="DELETE"),
        ask("/a", method="HEAD", status=404),
    ],
    "clients": [
        put("routes/1", at("A", "/a", remote_addr="127.0.0.0/24")),
        put("routes/2", at("B", "/b", remote_addrs=["192.0.2.1", "::1"])),
        put("routes/3", at("C", "/c", remote_addr="127.0.0.1")),
        hit("A", "/a"), miss("/b"), hit("C", "/c"),
    ],
    "variables of the request": [
        put("routes/1", at("A", "/a", vars=[["http_k", "==", "h"], ["cookie_k", "==", "c"],
                                            ["arg_k", "==", "q"]])),
        hit("A", "/a?k=q", headers={"k": "h", "Cookie": "x=y; k=c"}),
        hit("A", "/a?k=q", headers={"k": "h", "Cookie": "k=c; kkk=vvv;"}),
        miss("/a"), miss("/a?k=q", headers={"k": "h"}),
        miss("/a?k=no", headers={"k": "h", "Cookie": "k=c"}),
    ],
    "operators": [
        put("routes/1", at("A", "/re", vars=[["http_user_agent", "~*", "android"]])),
        put("routes/2", at("A", "/not", vars=[["http_user_agent", "!", "~*", "android"]])),
        put("routes/3", at("A", "/in", vars=[["http_user_agent", "IN", ["ios", "x"]]])),
        put("routes/4", at("A", "/null", vars=[["arg_a", "==", None]])),
        put("routes/5", at("A", "/two", vars=[["arg_a", "b"]])),
        put("routes/6", at("A", "/or", vars=["!OR", ["arg_a", "==", "1"], ["arg_b", "==", "1"]])),
        put("routes/7", at("A", "/none", vars=[])),
        put("routes/8", at("A", "/num", vars=[["arg_n", ">", 18], ["arg_n", "~=", 20]])),
        put("routes/9", at("A", "/ip", vars=[["remote_addr", "ipmatch", ["127.0.0.0/8"]]])),
        hit("A", "/re", headers={"User-Agent": "Android"}),
        miss("/re", headers={"User-Agent": "ios"}),
        hit("A", "/not", headers={"User-Agent": "ios"}),
        miss("/not", headers={"User-Agent": "xANDROIDx"}),
        hit("A", "/in", headers={"User-Agent": "ios"}),
        miss("/in", headers={"User-Agent": "IOS"}),
        hit("A", "/null"), miss("/null?a=1"), hit("A", "/two?a=b"), miss("/two?a=c"),
        hit("A", "/or?a=2&b=3"), miss("/or?a=1&b=3"), hit("A", "/none"),
        hit("A", "/num?n=19"), miss("/num?n=20"), miss("/num?n=2"), miss("/num?n=x"),
        hit("A", "/ip"),
    ],
    "forms and other bodies": [
        put("routes/1", at("A", "/a", vars=[["post_arg_k", "==", "v"]])),
        put("routes/2", at("B", "/a", vars=[["post_arg.model", "==", "openai"]])),
        put("routes/3", at("C", "/a", vars=[["post_arg.messages[*].content[*].type", "has",
                                             "image_url"]])),
        miss("/a"), miss("/a", method="POST", content="123"),
        hit("A", "/a", method="POST", content="k=v",
            headers={"Content-Type": "application/x-www-form-urlencoded"}),
        miss("/a", method="POST", content="k=v", headers={"Content-Type": "text/plain"}),
        hit("B", "/a", method="POST", content='{"model":"openai"}',
            headers={"Content-Type": "application/json"}),
        hit("B", "/a", method="POST", content="model=openai&x[0]=y",
            headers={"Content-Type": "application/x-www-form-urlencoded"}),
        hit("B", "/a", method="POST", headers={"Content-Type": "multipart/form-data; boundary=b"},
            content=FORM),
        hit("C", "/a", method="POST", headers={"Content-Type": "application/json"},
            content='{"messages":[{"content":[{"type":"text"},{"type":"image_url"}]}]}'),
        miss("/a", method="POST", headers={"Content-Type": "application/json"},
             content='{"messages":[{"content":[{"type":"text"}]}]}'),
    ],
    "graphql": [
        put("routes/1", at("A", "/a", vars=[["graphql_operation", "==", "query"],
                                            ["graphql_name", "==", "repo"]])),
        put("routes/2", at("B", "/a", vars=[["graphql_root_fields", "has", "owner"]])),
        put("routes/3", at("C", "/a", vars=[["graphql_operation", "==", "mutation"]])),
        hit("A", "/a", method="POST", content="query repo { x { name } }"),
        hit("B", "/a", method="POST", content="query { repo { stars } owner { name } }"),
        hit("C", "/a", method="POST", content="mutation m { create { id } }"),
        miss("/a", method="POST", content="query { repo { name } }"),
        miss("/a", method="POST", content="AA"),
        put("routes/1", at("A", "/a", vars=[["graphql_operation", "==", "query"],
                                            ["graphql_name", "==", ""]])),
        hit("A", "/a", method="POST", content="query { name }"),
        hit("A", "/a", method="POST", content="{ name }"),
        miss("/a", method="POST", content="query repo { name }"),
        hit("C", "/a", method="POST", content="mutation m { create { id } } query q { name }"),
    ],
    "status 0 takes a route out": [
        put("routes/1", at("A", "/a", status=0)),
        miss("/a"),
        patch("routes/1", {"status": 1}),
        hit("A", "/a"),
        patch("routes/1/status", 0),
        miss("/a"),
    ],
    "a route that goes away": [
        put("routes/1", at("A", "/a")),
        put("routes/2", at("B", "/*")),
        hit("A", "/a"),
        delete("routes/1"),
        hit("B", "/a"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_route(bench: Bench, name: str) -> None:
    run(bench, CASES[name])


def test_what_an_unmatched_request_gets(bench: Bench) -> None:
    answer = {"content-type": "text/plain; charset=utf-8", "server": "~^PingSIX/"}
    run(bench, [put("routes/1", at("A")), ask("/nowhere", answer=answer, **NOT_FOUND)])
