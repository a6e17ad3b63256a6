"""Reading path and host from a scope."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.errors import DownstreamError
from pingsix_asgi.http.scope import odd_port, read_host, read_path


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"Example.COM", "example.com"),
        (b"example.com:8080", "example.com"),
        (b"example.com.", "example.com"),
        (b"example.com.:80", "example.com"),
        (b"example.com:", "example.com"),
        (b"[::1]", "[::1]"),
        (b"[::1]:9080", "[::1]"),
        (b"127.0.0.1:9080", "127.0.0.1"),
        (b"", ""),
        (b"b\xfccher.de", "bücher.de"),
    ],
)
def test_host_is_lower_case_without_port(value: bytes, host: str) -> None:
    assert read_host([(b"accept", b"*/*"), (b"host", value)]) == host


@pytest.mark.parametrize(
    "value",
    [b"a b", b"a/b", b"a@b", b"a\\b", b"a\x00b", b"a:80:80", b"::1", b"[::1", b"a:http", b"a?b"],
)
def test_what_is_no_host_is_refused(value: bytes) -> None:
    with pytest.raises(DownstreamError, match="Host") as caught:
        read_host([(b"host", value)])
    assert caught.value.status == 400


def test_two_hosts_are_refused_even_when_equal() -> None:
    with pytest.raises(DownstreamError, match="more than one"):
        read_host([(b"host", b"a"), (b"x", b"y"), (b"host", b"a")])


def test_no_host_is_the_empty_host() -> None:
    assert read_host([]) == ""


@pytest.mark.parametrize(
    ("scope", "path", "target"),
    [
        ({"path": "/a", "raw_path": b"/a"}, "/a", b"/a"),
        ({"path": "/a b", "raw_path": b"/a%20b"}, "/a b", b"/a%20b"),
        ({"path": "//a/../b", "raw_path": b"//a/../b"}, "/b", b"/b"),
        ({"path": "/a%2fb", "raw_path": b"/a%252fb"}, "/a%2fb", b"/a%252fb"),
        ({"path": "/ä"}, "/ä", b"/%C3%A4"),
        ({"path": "/ä", "raw_path": None}, "/ä", b"/%C3%A4"),
        ({"path": "/rewritten", "raw_path": b"/as/sent"}, "/rewritten", b"/rewritten"),
        ({"path": "/a", "raw_path": b"/a?x=1"}, "/a", b"/a"),
        ({"path": "http://h/a b", "raw_path": b"http://h/a%20b"}, "/a b", b"/a%20b"),
        ({"path": "http://h", "raw_path": b"http://h"}, "/", b"/"),
    ],
    ids=[
        "plain", "escaped", "dots", "escaped twice", "no raw path", "raw path None",
        "rewritten outside", "query in the raw path",
        "absolute form",
        "absolute form without a path",
    ],
)  # fmt: skip
def test_path(scope: dict[str, Any], path: str, target: bytes) -> None:
    assert read_path(scope) == (path, target)


@given(st.text("/.%2fFab\u00e9 ?", max_size=12))
def test_the_raw_path_wins_whenever_the_server_decoded_it(tail: str) -> None:
    from urllib.parse import unquote

    raw = ("/" + tail.replace("\u00e9", "%C3%A9").replace("?", "")).encode()
    try:
        found = read_path({"path": unquote(raw.decode()), "raw_path": raw})
    except DownstreamError:
        return
    from pingsix_asgi.http.path import canonical_path

    assert found == canonical_path(raw)


@pytest.mark.parametrize(
    "path",
    [
        "/api/../admin",
        "/api/x/../../admin",
        "/api/./../admin",
        "/api//../admin",
        "/api/..",
        "/api/../apiary",
    ],
)
@pytest.mark.parametrize("root", ["/api", "/api/"])
def test_a_path_that_leaves_the_root_path_is_refused(path: str, root: str) -> None:
    scope = {"path": path, "root_path": root}
    with pytest.raises(DownstreamError, match="root path") as caught:
        read_path({**scope, "raw_path": path.replace(".", "%2e").encode()})
    assert caught.value.status == 400
    with pytest.raises(DownstreamError, match="root path"):
        read_path(scope)


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("/api/a/../b", "/api/b"),
        ("/api//b", "/api/b"),
        ("/api", "/api"),
        ("/api/.", "/api/"),
        ("/x/../b", "/b"),
    ],
)
def test_a_path_that_stays_below_the_root_path_is_read(path: str, canonical: str) -> None:
    scope = {"path": path, "raw_path": path.encode(), "root_path": "/api"}
    assert read_path(scope)[0] == canonical


@pytest.mark.parametrize(
    ("value", "scheme", "port"),
    [
        (b"a.test", "http", ""),
        (b"a.test:80", "http", ""),
        (b"a.test:080", "http", ""),
        (b"a.test:80", "https", ":80"),
        (b"a.test:1337", "http", ":1337"),
        (b"a.test:", "http", ""),
        (b"[::1]", "http", ""),
        (b"[::1]:81", "http", ":81"),
    ],
)
def test_the_port_a_host_names(value: bytes, scheme: str, port: str) -> None:
    assert odd_port([(b"x-a", b"b:1"), (b"host", value)], scheme) == port
    assert odd_port([], scheme) == ""
