"""Which node a request goes to, what it is told, and what a client gets when nodes fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from support.conformance import Bench
from support.conformance_core import (
    Step,
    ask,
    delete,
    node,
    patch,
    put,
    route,
    run,
    spread,
)

WARM_UP = {"slow_start_time_seconds": 600, "min_weight_percent": 1}
SHORT = {"connect": 0.3, "send": 0.3, "read": 0.3}


def shares(**expected: int) -> Callable[[list[str]], bool]:
    return lambda names: Counter(names) == expected


def one(names: list[str]) -> bool:
    return len(set(names)) == 1 and names[0] != "-"


def only(*expected: str) -> Callable[[list[str]], bool]:
    return lambda names: set(names) == set(expected)


def chash(key: str | None = None, **fields: Any) -> dict[str, Any]:
    return route("/a", upstream=node("A", "B", "C", type="chash", **({"key": key} if key else {}),
                                     **fields))  # fmt: skip


def weighted(**weights: int) -> dict[str, Any]:
    return {"type": "roundrobin", "nodes": {f"{{{name}}}": n for name, n in weights.items()}}


def listed(*members: tuple[str, int, int], **fields: Any) -> dict[str, Any]:
    """Nodes in list form as (name, weight, priority); the address goes into ``host``."""
    nodes = [{"host": f"{{{n}}}", "weight": w, "priority": p} for n, w, p in members]
    return {"type": "roundrobin", "nodes": nodes, **fields}


BALANCING: dict[str, list[Step]] = {
    "in turn": [
        put("routes/1", route("/a", upstream=node("A", "B"))),
        spread("/a", 12, shares(A=6, B=6)),
        put("routes/1", route("/a", upstream=node("A", "B", "C"))),
        spread("/a", 12, shares(A=4, B=4, C=4)),
    ],
    "in turn by weight": [
        put("routes/1", route("/a", upstream=weighted(A=3, B=2, C=1))),
        spread("/a", 12, shares(A=6, B=4, C=2)),
        put("routes/1", route("/a", upstream=weighted(A=1, B=0))),
        spread("/a", 6, shares(A=6)),
        put("routes/1", route("/a", upstream=weighted(A=0, B=0))),
        spread("/a", 6, shares(A=3, B=3)),
    ],
    "weights change while running": [
        put("upstreams/1", weighted(A=1, B=1)),
        put("routes/1", {"uri": "/a", "upstream_id": 1}),
        spread("/a", 4, shares(A=2, B=2)),
        patch("upstreams/1", {"nodes": {"{B}": None, "{C}": 3}}),
        spread("/a", 8, shares(A=2, C=6)),
        patch("upstreams/1/nodes", {"{B}": 1}),
        spread("/a", 3, shares(B=3)),
    ],
    "an id goes before an inline upstream, a route's before its service's": [
        put("upstreams/1", node("A")),
        put("upstreams/2", node("B")),
        put("services/1", {"upstream": node("closed"), "upstream_id": 1}),
        put("routes/1", {"uri": "/a", "service_id": 1}),
        ask("/a", has={"node": "A"}),
        put("routes/1", route("/a", service_id=1, upstream=node("C"))),
        ask("/a", has={"node": "C"}),
        put("routes/1", route("/a", service_id=1, upstream=node("closed"), upstream_id="2")),
        ask("/a", has={"node": "B"}),
        patch("routes/1", {"upstream_id": None, "upstream": {"nodes": {"{closed}": None,
                                                                       "{C}": 1}}}),
        ask("/a", has={"node": "C"}),
    ],
    "nodes in a list": [
        put("routes/1", route("/a", upstream=listed(("A", 2, 0), ("B", 1, 0)))),
        spread("/a", 6, shares(A=4, B=2)),
    ],
    "by hash of the client": [
        put("routes/1", chash("remote_addr")),
        spread("/a", 6, one),
    ],
    "by hash of a header, a cookie, an argument": [
        put("routes/1", chash("X-Sessionid", hash_on="header")),
        spread("/a", 4, one, headers={"X-Sessionid": "one"}),
        spread("/a", 4, one, headers={"X-Sessionid": "chash_val2"}),
        spread("/a", 4, one),
        put("routes/1", chash("sid", hash_on="cookie")),
        spread("/a", 4, one, headers={"Cookie": "a=b; sid=x"}),
        put("routes/1", chash("arg_device_id")),
        spread("/a?device_id=1", 4, one), spread("/a?device_id=2", 4, one),
        put("routes/1", chash("$request_uri$remote_addr", hash_on="vars_combinations")),
        spread("/a?x=1", 4, one),
    ],
    "by hash of the consumer": [
        put("consumers", {"username": "jack", "plugins": {"key-auth": {"key": "jack"}}}),
        put("consumers", {"username": "tom", "plugins": {"key-auth": {"key": "tom"}}}),
        put("routes/1", {**chash(hash_on="consumer"), "plugins": {"key-auth": {}}}),
        spread("/a", 4, one, headers={"apikey": "jack"}),
        spread("/a", 4, one, headers={"apikey": "tom"}),
    ],
    "least connections, by weight when idle": [
        put("routes/1", route("/a", upstream=weighted(A=1, B=3) | {"type": "least_conn"})),
        spread("/a", 4, shares(B=4)),
    ],
    "least latency": [
        put("routes/1", route("/a", upstream=node("A", "B", type="ewma"))),
        spread("/a", 20, lambda names: "-" not in names),
    ],
    "PingSIX's kinds": [
        put("routes/1", route("/a", upstream=node("A", "B", type="random"))),
        spread("/a", 4, lambda names: "-" not in names),
        put("routes/1", route("/a", upstream=node("A", "B", type="fnv", key="uri"))),
        spread("/a", 4, one),
        put("routes/1", route("/a", upstream=node("A", "B", type="ketama", hash_on="head",
                                                  key="x"))),
        spread("/a", 4, one, headers={"x": "1"}),
    ],
    "a node that joins starts slowly": [
        put("upstreams/1", weighted(A=100) | {"warm_up_conf": WARM_UP}),
        put("routes/1", {"uri": "/a", "upstream_id": "1"}),
        ask("/a"),
        put("upstreams/1", weighted(A=100, B=100) | {"warm_up_conf": WARM_UP}),
        spread("/a", 20, lambda names: names.count("A") >= 17 and "-" not in names),
        put("upstreams/1", weighted(A=100, B=100)),
        spread("/a", 20, shares(A=10, B=10)),
    ],
    "nodes that are there from the start do not": [
        put("routes/1", route("/a", upstream=weighted(A=1, B=1) | {"warm_up_conf": WARM_UP})),
        spread("/a", 20, shares(A=10, B=10)),
    ],
    "lower priorities wait": [
        put("routes/1", route("/a", upstream=listed(("A", 1, 1), ("B", 1, 0), ("C", 1, -1)))),
        spread("/a", 6, shares(A=6)),
        put("routes/1", route("/a", upstream=listed(("closed", 1, 1), ("B", 1, 0), ("C", 1, -1)))),
        spread("/a", 6, shares(B=6)),
    ],
}  # fmt: skip

FAILURES: dict[str, list[Step]] = {
    "a refused connection is tried elsewhere": [
        put("routes/1", route("/a", upstream=node("closed", "A"))),
        spread("/a", 6, shares(A=6)),
        put("routes/1", route("/a", upstream=node("closed", "A", retries=0))),
        spread("/a", 6, only("A", "-")),
    ],
    "nobody is there": [
        put("routes/1", route("/a", upstream=node("closed"))),
        ask("/a", status=502, like="502 Bad Gateway", answer={"content-type": "~^text/html"}),
        put("routes/1", route("/a", upstream=node("closed", retries=3))),
        ask("/a", status=502),
    ],
    "too slow": [
        put("routes/1", route("/slow", upstream=node("A", timeout=SHORT))),
        ask("/slow?s=0.8", status=504, like="504 Gateway Time-out"),
        ask("/slow?s=0.01"),
    ],
    "the route's timeout goes before the upstream's": [
        put("routes/1", route("/slow", timeout=SHORT, upstream=node("A", timeout={
            "connect": 5, "send": 5, "read": 5}))),
        ask("/slow?s=0.8", status=504),
        put("services/1", {"upstream": node("A", timeout=SHORT)}),
        put("routes/1", {"uri": "/slow", "service_id": "1"}),
        ask("/slow?s=0.8", status=504),
    ],
    "no node at all": [
        put("upstreams/1", {"type": "roundrobin", "nodes": {}}),
        put("routes/1", {"uri": "/a", "upstream_id": 1}),
        ask("/a", status=503),
        patch("upstreams/1", {"nodes": {"{A}": 1}}),
        ask("/a", has={"node": "A"}),
        put("routes/2", route("/b", upstream={"type": "roundrobin", "nodes": []})),
        ask("/b", status=503),
    ],
    "no upstream": [
        put("routes/1", {"uri": "/a", "plugins": {}}),
        ask("/a", status=503),
        put("routes/1", {"uri": "/a", "plugins": {"echo": {"body": "x"}}}),
        ask("/a", status=503),
    ],
    "a name that does not resolve": [
        put("routes/1", route("/a", upstream={"type": "roundrobin",
                                              "nodes": {"nothing.invalid:80": 1}})),
        ask("/a", status=503),
    ],
    "what a route needs was deleted by force": [
        put("upstreams/1", node("A")),
        put("services/1", {"upstream": node("A")}),
        put("plugin_configs/1", {"plugins": {}}),
        put("routes/1", {"uri": "/a", "upstream_id": "1"}),
        put("routes/2", {"uri": "/b", "service_id": "1"}),
        put("routes/3", route("/c", plugin_config_id="1")),
        ask("/a"), ask("/b"), ask("/c"),
        delete("upstreams/1?force=true"),
        delete("services/1?force=true"),
        delete("plugin_configs/1?force=true"),
        ask("/a", status=502), ask("/b", status=404), ask("/c", status=503),
    ],
    "statuses of nodes are passed on and told": [
        put("routes/1", route("/status/*", upstream=node("A"))),
        ask("/status/404", status=404, text="status 404\n",
            answer={"x-apisix-upstream-status": None}),
        ask("/status/500", status=500, text="status 500\n",
            answer={"x-apisix-upstream-status": "500"}),
        ask("/status/503", status=503, answer={"x-apisix-upstream-status": "503"}),
    ],
}  # fmt: skip

SENT: dict[str, list[Step]] = {
    "the client's host": [
        put("routes/1", route("/a")),
        ask("/a", headers={"Host": "a.example:8080"},
            upstream={"headers": {"host": "a.example:8080"}}),
        put("routes/1", route("/a", upstream=node("A", pass_host="pass"))),
        ask("/a", headers={"Host": "a.example"}, upstream={"headers": {"host": "a.example"}}),
    ],
    "the node's host": [
        put("routes/1", route("/a", upstream=node("A", pass_host="node"))),
        ask("/a", headers={"Host": "a.example"}, upstream={"headers": {"host": "{A}"}}),
        put("routes/1", route("/a", upstream={"type": "roundrobin", "pass_host": "node",
                                              "nodes": {"localhost:{A-port}": 1}})),
        ask("/a", upstream={"headers": {"host": "localhost:{A-port}"}}),
    ],
    "another host": [
        put("routes/1", route("/a", upstream=node("A", pass_host="rewrite",
                                                  upstream_host="b.example"))),
        ask("/a", headers={"Host": "a.example"}, upstream={"headers": {"host": "b.example"}}),
    ],
    "forwarded": [
        put("routes/1", route("/a")),
        ask("/a", headers={"Host": "a.example:81"},
            upstream={"headers": {"x-real-ip": "127.0.0.1", "x-forwarded-for": "127.0.0.1",
                                  "x-forwarded-proto": "http", "x-forwarded-host": "a.example",
                                  "x-forwarded-port": "~^[0-9]+$"}}),
        ask("/a", headers={"X-Forwarded-For": "192.0.2.1"},
            upstream={"headers": {"x-forwarded-for": "192.0.2.1, 127.0.0.1"}}),
    ],
    "hop by hop fields stay here": [
        put("routes/1", route("/a")),
        ask("/a", headers={"Connection": "close, X-Mine", "X-Mine": "1", "TE": "trailers",
                           "X-Kept": "2"},
            upstream={"headers": {"x-mine": None, "x-kept": "2"}}),
    ],
    "path and query as they came": [
        put("routes/1", route("/*")),
        ask("/p?a=1&a=2&b=%20x&c", upstream={"uri": "/p?a=1&a=2&b=%20x&c"}),
        ask("/sp%20ace/%E4%BD%A0", upstream={"uri": "/sp%20ace/%E4%BD%A0"}),
    ],
    "method and body": [
        put("routes/1", route("/*")),
        ask("/p", method="POST", content="hello", upstream={"method": "POST", "body": "hello"}),
        ask("/p", method="PATCH", content="x" * 70000, upstream={"body": "x" * 70000}),
        ask("/p", method="DELETE", upstream={"method": "DELETE"}),
        ask("/hello", method="HEAD", text=""),
    ],
    "the answer": [
        put("routes/1", route("/*")),
        ask("/headers?server=nginx&x-one=1", answer={"server": "~^PingSIX/", "x-one": "1"}),
        ask("/hello", text="hello world\n", answer={"content-type": "text/plain",
                                                    "content-length": "12"}),
    ],
}  # fmt: skip

CASES = {**BALANCING, **FAILURES, **SENT}


@pytest.fixture(scope="module", autouse=True)
def ports(bench: Bench) -> None:
    bench._places["A-port"] = str(bench.nodes["A"].server_port)


@pytest.mark.parametrize("name", CASES)
def test_upstream(bench: Bench, name: str) -> None:
    run(bench, CASES[name])
