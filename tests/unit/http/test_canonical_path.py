"""The canonical path: known cases, and what must hold for every input."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pingsix_asgi.errors import DownstreamError
from pingsix_asgi.http.path import canonical_path, encode_path, resolve


@pytest.mark.parametrize(
    ("raw", "decoded", "encoded"),
    [
        (b"/", "/", b"/"),
        (b"/a/b", "/a/b", b"/a/b"),
        (b"/a%20b", "/a b", b"/a%20b"),
        (b"/a b", "/a b", b"/a%20b"),
        (b"/%61", "/a", b"/a"),
        (b"/a%2Fb", "/a/b", b"/a/b"),
        (b"/a%2f%2e%2e%2fb", "/b", b"/b"),
        (b"/a%252Fb", "/a%2Fb", b"/a%252Fb"),
        (b"//a///b//", "/a/b/", b"/a/b/"),
        (b"/a/./b/.", "/a/b/", b"/a/b/"),
        (b"/a/../b", "/b", b"/b"),
        (b"/a/..", "/", b"/"),
        (b"/a/b/..", "/a/", b"/a/"),
        (b"/a//../b", "/b", b"/b"),
        (b"/...", "/...", b"/..."),
        (b"/.well-known/x", "/.well-known/x", b"/.well-known/x"),
        (b"/a;p=1,2@x:y!$&'()*+", "/a;p=1,2@x:y!$&'()*+", b"/a;p=1,2@x:y!$&'()*+"),
        (b"/%C3%A9", "/é", b"/%C3%A9"),
        (b"/\xc3\xa9", "/é", b"/%C3%A9"),
        (b"/%FF", "/\udcff", b"/%FF"),
        (b"/%0d%0a", "/\r\n", b"/%0D%0A"),
        (b"/a%3Fb%23c", "/a?b#c", b"/a%3Fb%23c"),
        (b"/a\\b", "/a\\b", b"/a%5Cb"),
    ],
)
def test_known_paths(raw: bytes, decoded: str, encoded: bytes) -> None:
    assert canonical_path(raw) == (decoded, encoded)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"*", b"a", b"/%", b"/%4", b"/%zz", b"/%00", b"/a\0"),
        *(b"/..", b"/../a", b"/a/../..", b"/%2e%2e/a", b"//..", b"/./.."),
    ],
)
def test_what_has_no_one_meaning_is_refused(raw: bytes) -> None:
    with pytest.raises(DownstreamError) as refusal:
        canonical_path(raw)
    assert refusal.value.status == 400


PIECES = st.sampled_from(
    [
        *(b"/", b".", b"..", b"a", b"%2F", b"%2e", b"%2E%2e", b"%25", b"%41", b"%C3%A9", b"%FF"),
        *(b"//", b" ", b"?", b"#", b"\xff", b"\\", b"~", b";", b"%00", b"%", b"%5c"),
    ]
)
RAW = st.one_of(st.lists(PIECES).map(b"".join), st.binary()).map(lambda rest: b"/" + rest)


def canonical_or_none(raw: bytes) -> tuple[str, bytes] | None:
    try:
        return canonical_path(raw)
    except DownstreamError:
        return None


@given(RAW)
@example(b"/%2e%2e%2f")
@example(b"/a/%2E")
def test_a_canonical_path_is_a_fixed_point_with_one_spelling(raw: bytes) -> None:
    found = canonical_or_none(raw)
    if found is None:
        return
    path, encoded = found
    assert path.startswith("/")
    assert "//" not in path
    assert not {".", ".."} & set(path.split("/"))
    assert "\0" not in path
    assert canonical_path(encoded) == found
    assert encode_path(path) == encoded
    assert encoded.isascii()
    assert not set(encoded) & set(b' ?#"<>\\^`{|}\r\n')


@given(RAW)
def test_escaping_more_of_a_path_does_not_change_what_it_means(raw: bytes) -> None:
    found = canonical_or_none(raw)
    if found is None or b"%" in raw:
        return
    spelled_out = b"".join(b"%%%02x" % byte for byte in raw[1:])
    assert canonical_path(b"/" + spelled_out) == found


@given(st.text(alphabet=st.characters(exclude_characters="/.\0", exclude_categories=["Cs"])))
def test_encoding_and_reading_back_gives_the_same_path(segment: str) -> None:
    assert canonical_path(encode_path("/x" + segment))[0] == "/x" + segment


@given(st.binary())
def test_bytes_that_are_not_utf8_survive(segment: bytes) -> None:
    raw = b"/x" + b"".join(b"%%%02X" % byte for byte in segment if byte not in b"/.\0")
    path, encoded = canonical_path(raw)
    kept = bytes(byte for byte in segment if byte not in b"/.\0")
    assert path.encode("utf-8", "surrogateescape") == b"/x" + kept
    assert canonical_path(encoded)[0] == path


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("/a/b", "/a/b"),
        ("/public/../admin", "/admin"),
        ("/public/..", "/"),
        ("/a//./b/", "/a/b/"),
        ("/a//../b", "/b"),
        ("/a//b", "/a//b"),
        ("/a/%2e%2e/b", "/a/%2e%2e/b"),
        ("/a/.well-known/\udcff", "/a/.well-known/\udcff"),
        ("new", "new"),
    ],
)
def test_a_decoded_path_is_resolved_but_not_decoded_again(path: str, resolved: str) -> None:
    assert resolve(path) == resolved


def test_a_decoded_path_never_leads_above_the_root() -> None:
    with pytest.raises(DownstreamError):
        resolve("/a/../..")
