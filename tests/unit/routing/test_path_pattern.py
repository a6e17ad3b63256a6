"""Path patterns: both spellings, what they capture, what is refused."""

from __future__ import annotations

import time

import pytest

from pingsix_asgi.routing.pattern import Kind, PathPattern, parse_path


@pytest.mark.parametrize(
    ("text", "kind", "key"),
    [
        ("/", Kind.EXACT, "/"),
        ("/a/b", Kind.EXACT, "/a/b"),
        ("/v1/items:batch", Kind.EXACT, "/v1/items:batch"),
        ("/a/:", Kind.EXACT, "/a/:"),
        ("/t/:12", Kind.EXACT, "/t/:12"),
        ("/{{x}}", Kind.EXACT, "/{x}"),
        ("/*", Kind.PREFIX, "/"),
        ("*", Kind.PREFIX, "/"),
        ("/foo*", Kind.PREFIX, "/foo"),
        ("/foo/*", Kind.PREFIX, "/foo/"),
        ("/foo/*rest", Kind.PREFIX, "/foo/"),
        ("/foo/{*rest}", Kind.PREFIX, "/foo/"),
        ("/foo{*rest}", Kind.PREFIX, "/foo"),
        ("/u/:id", Kind.SEGMENTS, "/u/"),
        ("/u/{id}", Kind.SEGMENTS, "/u/"),
        ("/u/{id}/", Kind.SEGMENTS, "/u/"),
        ("/u/{id}/posts/*", Kind.SEGMENTS, "/u/"),
        ("/u/{id}/{*rest}", Kind.SEGMENTS, "/u/"),
        ("/img{id}", Kind.REGEX, "/img"),
        ("/{id}.png", Kind.REGEX, "/"),
        ("/a/*/b", Kind.REGEX, "/a/"),
        ("/a*b", Kind.REGEX, "/a"),
    ],
)
def test_kind_and_key(text: str, kind: Kind, key: str) -> None:
    pattern = parse_path(text)
    assert (pattern.kind, pattern.key) == (kind, key)


def test_both_spellings_of_a_parameter_are_the_same_but_for_their_text() -> None:
    apisix, pingsix = parse_path("/u/:id/x/:n"), parse_path("/u/{id}/x/{n}")
    assert (apisix.steps, apisix.params) == ((None, "x", None), ((0, "id"), (2, "n")))
    assert (pingsix.steps, pingsix.params) == (apisix.steps, apisix.params)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1 to 4096 characters"),
        ("/" + "a" * 4096, "1 to 4096 characters"),
        ("/a{", 'unmatched "{"'),
        ("/a}", 'unmatched "}"'),
        ("/{}", 'unmatched "{"'),
        ("/{a/b}", 'unmatched "{"'),
        ("/{a}{b}", "one parameter per segment"),
        ("/{a}.{b}", "one parameter per segment"),
        ("/{a}*", "one parameter per segment"),
        ("/x**", '"**"'),
        ("/{*rest}/x", "only allowed at the end"),
        ("/{*rest}x", "only allowed at the end"),
    ],
)
def test_bad_patterns_are_refused_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("*", r"\*").replace("{", r"\{")):
        parse_path(text)


def test_without_a_slash_nothing_matches(caplog: pytest.LogCaptureFixture) -> None:
    pattern = parse_path("api/*")
    assert (pattern.kind, pattern.key) == (Kind.EXACT, "api/*")
    assert 'does not start with "/"' in caplog.text


def captured(pattern: PathPattern, path: str) -> dict[str, str] | None:
    assert pattern.regex is not None
    found = pattern.regex.fullmatch(path)
    return None if found is None else dict(zip(pattern.names, found.groups(), strict=True))


@pytest.mark.parametrize(
    ("text", "path", "params"),
    [
        ("/img{id}.png", "/img7.png", {"id": "7"}),
        ("/img{id}.png", "/img7.png.png", {"id": "7.png"}),
        ("/img{id}.png", "/img.png", None),
        ("/img{id}.png", "/img/7.png", None),
        ("/a/*/b", "/a/x/y/b", {":ext": "x/y"}),
        ("/a/*/b", "/a//b", {":ext": ""}),
        ("/a/*/b", "/a/b", None),
        ("/a/*mid/b/*end", "/a/x/b/y/b/z", {"mid": "x", "end": "y/b/z"}),
        ("/a/*mid/b", "/a/1/b/2/b", {"mid": "1/b/2"}),
        ("/a*b", "/a/x/b", {}),
        ("/a*b", "/ab", {}),
        ("/a*b*c", "/abbbxc", {}),
        ("/a*b*c", "/abbbx", None),
        ("/*/x.y", "/1/xzy", None),
        ("/*/x", "/line\nbreak/x", {":ext": "line\nbreak"}),
    ],
)
def test_captures_of_patterns_that_need_a_regex(
    text: str, path: str, params: dict[str, str] | None
) -> None:
    assert captured(parse_path(text), path) == params


def test_many_wildcards_take_linear_time_on_a_path_made_to_confuse_them() -> None:
    pattern = parse_path("/a" + "/*/b" * 12 + "/c")
    path = "/a" + "/x/b" * 4000
    began = time.perf_counter()
    assert captured(pattern, path) is None
    # backtracking over 12 wildcards would take years; a minute only says "not that"
    assert time.perf_counter() - began < 60
