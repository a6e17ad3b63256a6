"""The router against a naive matcher, and one test per rule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingsix_asgi.context import Context, Request
from pingsix_asgi.http.addresses import AddressSet
from pingsix_asgi.routing.router import RouteEntry, Router
from support.contexts import make_context
from support.naive_router import NaiveRequest, NaiveRoute, Piece, key_of, naive_match, spelled


def context(request: NaiveRequest) -> Context:
    scope: dict[str, Any] = {
        "type": "http",
        "method": request.method,
        "headers": [(b"host", request.authority.encode())],
        "client": (request.client, 1234),
    }
    path = request.path
    target: Any = None
    return Context(scope, target, target, Request(scope, path, path.encode(), request.host))


def entry(route: NaiveRoute) -> RouteEntry:
    flag, match = route.flag, Found(route.id)
    return RouteEntry(
        id=route.id,
        paths=tuple(spelled(path) for path in route.paths),
        hosts=route.hosts,
        methods=frozenset(route.methods) or None,
        remote_addrs=AddressSet(route.networks) if route.networks else None,
        predicate=None if flag is None else lambda ctx: flag,
        priority=route.priority,
        match=match,
    )


class Found:
    """Stands for a compiled route."""

    plan: Any = None
    target: Any = None
    info: Any = None

    def __init__(self, id: str) -> None:
        self.id = id

    def plan_for(self, consumer: Any) -> Any:
        return self.plan


SEGMENTS = st.sampled_from(["a", "b", "ab", "a.b", "x"])
PARAMS = st.sampled_from([":p", ":q", "{p}", "{long_name}"])


@st.composite
def paths(draw: st.DrawFn) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["lit", "lit", "param", "fix", "star", "glob"]))
        pieces.append(Piece("lit", "/"))
        if kind == "lit":
            pieces.append(Piece("lit", draw(SEGMENTS)))
        elif kind == "param":
            pieces.append(Piece("param", draw(PARAMS)))
        elif kind == "fix":
            pieces.append(Piece("lit", draw(st.sampled_from(["a", "{{", ""]))))
            pieces.append(Piece("param", "{p}"))
            pieces.append(Piece("lit", draw(st.sampled_from(["b", ".b", ""]))))
        elif kind == "star":
            pieces.append(Piece("any", draw(st.sampled_from(["*", "*name"]))))
        else:
            pieces += [Piece("lit", "a"), Piece("any", "*"), Piece("lit", "b")]
    end = draw(st.sampled_from(["", "/", "/*", "*", "/{*rest}", "/*rest"]))
    if end == "*" and (not pieces or pieces[-1].kind != "lit" or pieces[-1].text in ("/", "")):
        end = "/*"
    if end == "*" and any(piece.kind != "lit" for piece in _last_segment(pieces)):
        end = ""
    if end.startswith("/") or not pieces:
        pieces.append(Piece("lit", "/"))
    if end not in ("", "/"):
        text = end.lstrip("/")
        pieces.append(Piece("some" if "{" in text else "any", text))
    return tuple(piece for piece in pieces if piece.text)


def _last_segment(pieces: list[Piece]) -> list[Piece]:
    last = max(index for index, piece in enumerate(pieces) if piece.text == "/")
    return pieces[last + 1 :]


HOSTS = st.sampled_from(
    ["a.test", "A.test", "*.test", "*a.test", "*.a.test", "*", "a.test:81", "*.test:81", "[::1]"]
)
ROUTES = st.builds(
    NaiveRoute,
    id=st.sampled_from([str(number) for number in range(12)]),
    paths=st.lists(paths(), min_size=1, max_size=2).map(tuple),
    hosts=st.lists(HOSTS, max_size=2).map(tuple),
    methods=st.sampled_from([(), (), ("GET",), ("POST", "PUT")]),
    networks=st.sampled_from([(), (), ("10.0.0.0/8",), ("127.0.0.1", "::1")]),
    flag=st.sampled_from([None, None, True, False]),
    priority=st.integers(-1, 1),
)
TABLES = st.lists(ROUTES, max_size=10, unique_by=lambda route: route.id)


@st.composite
def requests(draw: st.DrawFn, routes: list[NaiveRoute]) -> NaiveRequest:
    """Make requests that have a fair chance to match: fill a pattern, or combine segments."""
    if routes and draw(st.booleans()):
        pieces = draw(st.sampled_from(draw(st.sampled_from(routes)).paths))
        path = ""
        for piece in pieces:
            if piece.kind == "lit":
                path += piece.text.replace("{{", "{")
            elif piece.kind == "param":
                path += draw(SEGMENTS)
            else:
                path += draw(st.sampled_from(["", "a", "a/b", "x/a/b", "b"]))
    else:
        path = "/" + "/".join(draw(st.lists(SEGMENTS, max_size=4)))
        path += draw(st.sampled_from(["", "/"]))
    host, authority = draw(
        st.sampled_from(
            [
                *(("a.test", "A.test"), ("a.test", "a.test:81"), ("b.test", "b.test")),
                *(("x.a.test", "x.a.test:81"), ("ba.test", "ba.test"), ("", "")),
                *(("[::1]", "[::1]:81"), ("[::1]", "[::1]"), ("other", "other:81")),
            ]
        )
    )
    return NaiveRequest(
        path=path,
        host=host,
        authority=authority,
        method=draw(st.sampled_from(["GET", "PUT", "DELETE"])),
        client=draw(st.sampled_from(["10.1.2.3", "127.0.0.1", "::1", "192.0.2.1"])),
    )


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_the_router_agrees_with_the_naive_matcher(data: st.DataObject) -> None:
    routes = data.draw(TABLES, label="routes")
    router = Router(entry(route) for route in routes)
    for _ in range(4):
        request = data.draw(requests(routes), label="request")
        check(router, routes, request)


def check(router: Router, routes: list[NaiveRoute], request: NaiveRequest) -> None:
    expected = naive_match(routes, request)
    ctx = context(request)
    found = router.match(ctx)
    if expected is None:
        assert found is None
        assert ctx.params is None
        return
    assert isinstance(found, Found)
    assert found.id == expected[0]
    route = next(route for route in routes if route.id == found.id)
    check_params(route.paths[expected[1]], request.path, ctx.params or {})


def check_params(pieces: tuple[Piece, ...], path: str, params: dict[str, str]) -> None:
    """Putting the captured values back into the pattern gives the path."""
    names = names_of(pieces)
    wanted = [name for name in names if name]
    assert set(params) == set(wanted)
    if len(set(wanted)) == len(wanted) and not any(
        piece.kind != "lit" and not name for piece, name in zip(pieces, names, strict=True)
    ):
        values = (
            params[name] if name else piece.text.replace("{{", "{")
            for piece, name in zip(pieces, names, strict=True)
        )
        assert "".join(values) == path
    for piece, name in zip(pieces, names, strict=True):
        if piece.kind == "param" and wanted.count(name) == 1:
            assert params[name]
            assert "/" not in params[name]


def names_of(pieces: tuple[Piece, ...]) -> list[str]:
    """Return the name each piece is captured under, "" for none.

    A bare "*" that starts a segment is ":ext", but not in a plain prefix.
    """
    is_plain_prefix = all(piece.kind == "lit" for piece in pieces[:-1])
    names, before = [], ""
    for piece in pieces:
        name = "" if piece.kind == "lit" else piece.text.strip("{}").lstrip("*:")
        if piece.text == "*" and before.endswith("/") and not is_plain_prefix:
            name = ":ext"
        names.append(name)
        before = piece.text
    return names


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_an_updated_router_is_the_same_as_one_built_anew(data: st.DataObject) -> None:
    before = data.draw(TABLES, label="before")
    added = data.draw(TABLES, label="added")
    removed = data.draw(st.lists(st.sampled_from([str(n) for n in range(12)])), label="removed")
    old = Router(entry(route) for route in before)
    shape_of_old = shape(old)
    new = old.updated(added=[entry(route) for route in added], removed_ids=removed)
    after = {route.id: route for route in before if route.id not in removed}
    after.update({route.id: route for route in added})
    assert shape(new) == shape(Router(entry(route) for route in after.values()))
    assert shape(old) == shape_of_old
    for _ in range(3):
        request = data.draw(requests(before + added), label="request")
        check(new, list(after.values()), request)
        check(old, before, request)


def shape(thing: Any) -> Any:
    """Everything a router holds, as plain data; what only speeds a look-up up is left out."""
    if isinstance(thing, Router):
        hosts = thing._hosts
        return (
            sorted(thing.entries),
            shape(thing._anywhere),
            hosts and (shape(hosts.exact), shape(hosts.endings), hosts.lengths.descending),
            hosts and hosts.ports,
        )
    if isinstance(thing, dict):
        return {key: shape(value) for key, value in sorted(thing.items())}
    if isinstance(thing, list):
        return [leaf.order for leaf in thing]
    if thing is None:
        return None
    if type(thing).__name__ == "Lengths":
        return thing.descending
    return {name: shape(getattr(thing, name)) for name in type(thing).__slots__ if name != "reach"}


def lit(text: str) -> tuple[Piece, ...]:
    return (Piece("lit", text),)


def simple(id: str, path: str, **options: Any) -> RouteEntry:
    fields: dict[str, Any] = {
        "hosts": (),
        "methods": None,
        "remote_addrs": None,
        "predicate": None,
        "priority": 0,
        "match": Found(id),
        **options,
    }
    return RouteEntry(id=id, paths=(path,), **fields)


def ask(
    router: Router, path: str, host: str = "a.test", method: str = "GET", authority: str = ""
) -> str | None:
    found = router.match(
        context(NaiveRequest(path, host, authority or host, method, client="192.0.2.1"))
    )
    assert found is None or isinstance(found, Found)
    return found and found.id


@pytest.mark.parametrize(
    ("routes", "path", "winner"),
    [
        ({"exact": ("/a", 0), "prefix": ("/*", 9)}, "/a", "exact"),
        ({"short": ("/a/*", 9), "long": ("/a/b/*", 0)}, "/a/b/c", "long"),
        ({"low": ("/a/*", 0), "high": ("/a/:id", 0)}, "/a/x", "high"),
        ({"low": ("/a/*", 0), "high": ("/a/{id}", 0)}, "/a/x", "high"),
        ({"rest": ("/a/{*r}", 0), "param": ("/a/{id}", 0)}, "/a/x", "param"),
        ({"low": ("/a/:id", 0), "high": ("/a/*", 1)}, "/a/x", "high"),
        ({"static": ("/{t}/x", 0), "param": ("/{tenant_name}/{y}", 0)}, "/1/x", "static"),
        ({"2": ("/a/*", 0), "1": ("/a/*", 0)}, "/a/x", "1"),
        ({"empty": ("/a*", 0)}, "/a", "empty"),
        ({"empty": ("/a/*", 0)}, "/a/", "empty"),
        ({"none": ("/a/*", 0)}, "/a", None),
        ({"none": ("/a/{*p}", 0)}, "/a/", None),
        ({"none": ("/{*p}", 0)}, "/", None),
        ({"none": ("/{p}", 0)}, "/", None),
    ],
)
def test_order_of_paths(routes: dict[str, tuple[str, int]], path: str, winner: str | None) -> None:
    router = Router(simple(id, text, priority=level) for id, (text, level) in routes.items())
    assert ask(router, path) == winner


def test_a_refused_condition_falls_through_to_shorter_prefixes_and_other_hosts() -> None:
    post = frozenset({"POST"})
    router = Router(
        [
            simple("exact host", "/a", hosts=("x.a.test",), methods=post),
            simple("wild host", "/a/*", hosts=("*.a.test",)),
            simple("wider host", "/a", hosts=("*.test",), methods=post),
            simple("exact", "/a", methods=post),
            simple("any", "/*"),
        ]
    )
    assert ask(router, "/a", "x.a.test", "POST") == "exact host"
    assert ask(router, "/a", "y.a.test", "POST") == "wider host"
    assert ask(router, "/a/1", "x.a.test") == "wild host"
    assert ask(router, "/a", "x.a.test") == "any"


def test_literal_and_parameter_at_one_place_are_both_tried() -> None:
    router = Router(
        [
            simple("literal", "/{t}/x/{y}", methods=frozenset({"POST"})),
            simple("parameter", "/{t}/{s}/y"),
            simple("open", "/{t}/{*rest}", priority=-1),
        ]
    )
    assert ask(router, "/1/x/y", method="POST") == "literal"
    assert ask(router, "/1/x/y") == "parameter"
    assert ask(router, "/1/x/z") == "open"
    assert ask(router, "/1/") is None


def test_a_host_with_a_port_is_compared_with_the_header_as_sent() -> None:
    router = Router(
        [
            simple("port", "/", hosts=("a.test:8080",)),
            simple("wild port", "/", hosts=("*.test:8080",)),
            simple("host", "/", hosts=("a.test",)),
            simple("ipv6", "/", hosts=("[::1]",)),
            simple("ipv6 port", "/", hosts=("[::1]:8080",)),
        ]
    )
    assert ask(router, "/", authority="A.TEST:8080") == "port"
    assert ask(router, "/", authority="a.test:81") == "host"
    assert ask(router, "/") == "host"
    assert ask(router, "/", "b.test", authority="b.test:8080") == "wild port"
    assert ask(router, "/", "b.test", authority="b.test:81") is None
    assert ask(router, "/", "[::1]", authority="[::1]:81") == "ipv6"
    assert ask(router, "/", "[::1]", authority="[::1]:8080") == "ipv6 port"


def test_a_host_header_that_differs_from_the_host_is_not_remembered_for_others() -> None:
    router = Router(
        [simple("a", "/", hosts=("a.test",)), simple("b", "/", hosts=("b.test", "z.test:1"))]
    )
    assert ask(router, "/", "b.test", authority="a.test:80") == "b"
    assert ask(router, "/", "a.test", authority="a.test:80") == "a"


def test_remembered_hosts_are_bounded() -> None:
    router = Router([simple("a", "/", hosts=("*.test",))])
    hosts = router._hosts
    assert hosts is not None
    for number in range(10_000):
        assert ask(router, "/", f"{number}.test") == "a"
    assert ask(router, "/", "x" * 10_000 + ".test") == "a"
    assert len(hosts._remembered) <= 4096
    assert all(len(host) < 300 for host in hosts._remembered)


def test_a_predicate_sees_the_parameters_and_a_refusal_takes_them_back() -> None:
    seen: list[Any] = []

    def refuse(ctx: Context) -> bool:
        seen.append(ctx.params)
        return False

    router = Router([simple("one", "/a/{id}", predicate=refuse), simple("two", "/*")])
    ctx = context(NaiveRequest("/a/7", "h", "h", "GET", "::1"))
    found = router.match(ctx)
    assert isinstance(found, Found)
    assert (found.id, seen, ctx.params) == ("two", [{"id": "7"}], None)


@pytest.mark.parametrize(
    ("path", "asked", "params"),
    [
        ("/a/*", "/a/b/c", None),
        ("/a/*rest", "/a/b/c", {"rest": "b/c"}),
        ("/a/*rest", "/a/", {"rest": ""}),
        ("/a/{*rest}", "/a/b/c", {"rest": "b/c"}),
        ("/a/:id/*", "/a/1/b/c", {"id": "1", ":ext": "b/c"}),
        ("/a/:id/{*rest}", "/a/1/b/c", {"id": "1", "rest": "b/c"}),
        ("/a/*/c", "/a/x/y/c", {":ext": "x/y"}),
        ("/a*c", "/a/x/c", None),
    ],
)
def test_parameters(path: str, asked: str, params: dict[str, str] | None) -> None:
    ctx = context(NaiveRequest(asked, "h", "h", "GET", "::1"))
    assert Router([simple("one", path)]).match(ctx) is not None
    assert ctx.params == params


@pytest.mark.parametrize("bad", [{"hosts": ("a b",)}, {"hosts": ("a.*",)}, {"hosts": ("",)}])
def test_bad_hosts_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="bad host"):
        Router([simple("one", "/", **bad)])


def test_a_bad_update_leaves_the_router_as_it_was() -> None:
    router = Router([simple("one", "/a")])
    with pytest.raises(ValueError, match="unmatched"):
        router.updated(added=[simple("two", "/b"), simple("one", "/{")])
    assert (ask(router, "/a"), ask(router, "/b"), len(router)) == ("one", None, 1)


def test_needs_body_counts_the_routes_whose_predicate_reads_it() -> None:
    router = Router([simple("one", "/a", needs_body=True), simple("two", "/b")])
    assert router.needs_body
    assert not router.updated(removed_ids=["one"]).needs_body
    assert not router.updated(added=[simple("one", "/a")]).needs_body


def test_only_requests_that_may_reach_a_reader_have_their_body_read() -> None:
    def refuses(ctx: Context) -> bool:
        raise AssertionError("the body was not read yet")

    reader = simple(
        "reader",
        "/a/:id",
        hosts=("a.test",),
        methods=frozenset({"POST"}),
        predicate=refuses,
        needs_body=True,
    )
    router = Router([reader, simple("all", "/*", priority=9)])

    def may_read(path: str, host: str = "a.test", method: str = "POST") -> bool:
        ctx = make_context(path, method=method)
        ctx.request.host = host
        found = router.may_read_body(ctx)
        assert ctx.params is None
        return found

    assert may_read("/a/1")
    assert not may_read("/a/1", host="b.test")
    assert not may_read("/b/1")
    assert not may_read("/a/1", method="GET")
    router = router.updated(added=[simple("reader", "/b/1", needs_body=True)])
    assert may_read("/b/1", host="b.test")
    assert not may_read("/a/1")
    router = router.updated(removed_ids=["all"])
    assert may_read("/b/1")


def test_an_update_shares_what_did_not_change() -> None:
    old = Router(simple(str(n), f"/{n}/{{id}}", hosts=(f"{n}.test",)) for n in range(50))
    new = old.updated(added=[simple("7", "/7/x", hosts=("7.test",))])
    assert old._hosts is not None
    assert new._hosts is not None
    changed = [
        host for host, table in new._hosts.exact.items() if table is not old._hosts.exact[host]
    ]
    assert changed == ["7.test"]


def test_the_naive_matcher_itself_on_a_few_known_answers() -> None:
    star = (Piece("lit", "/a/"), Piece("any", "*"))
    assert key_of(star) == "/a/"
    routes = [
        NaiveRoute("1", (star,), (), (), (), None, 0),
        NaiveRoute("2", (lit("/a/b"),), (), ("POST",), (), None, 0),
    ]
    request = NaiveRequest("/a/b", "h", "h", "GET", "::1")
    assert naive_match(routes, request) == ("1", 0)
    assert naive_match(routes[1:], request) is None
