"""What is read from GraphQL documents."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.expr.graphql import parse_operation


@pytest.mark.parametrize(
    ("text", "kind", "name", "fields"),
    [
        ("{a b}", "query", "", ("a", "b")),
        ("query{a}", "query", "", ("a",)),
        (
            "query Q { alias: real(x: {y: [1, $v]}) @include(if: $b) { deep { er } } next }",
            "query",
            "Q",
            ("real", "next"),
        ),
        (
            'mutation M($v: [Int!]! = [1]) @d(a: "}") { save(s: "x}\\"{") , done }',
            "mutation",
            "M",
            ("save", "done"),
        ),
        ('{ f(t: """block } " quote""") g } # comment {', "query", "", ("f", "g")),
        ("subscription query { query }", "subscription", "query", ("query",)),
        (
            "query A { ...F ... on T { x } ... @skip(if: true) { y } } fragment F on T { z a }",
            "query",
            "A",
            ("z", "a", "x", "y"),
        ),
        ("fragment F on Q { ...F hidden } query { ...F ...Missing }", "query", "", ("hidden",)),
        ("{ a a x: a }", "query", "", ("a",)),
        ("\ufeff{a}", "query", "", ("a",)),
    ],
)
def test_operations(text: str, kind: str, name: str, fields: tuple[str, ...]) -> None:
    found = parse_operation(text)
    assert (found.kind, found.name, found.root_fields) == (kind, name, fields)


def test_the_named_operation_counts() -> None:
    text = "query A { a } mutation B { b }"
    assert parse_operation(text).name == "A"
    assert parse_operation(text, "B").root_fields == ("b",)
    with pytest.raises(ValueError, match="no such operation"):
        parse_operation(text, "C")


@pytest.mark.parametrize(
    "text",
    ["", "{", "}", "{a", "query", "query Q", "type T { a: Int }", "{ f(a: ] ) }", "{ 5 }", "{ ; }"],
)
def test_broken_documents_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_operation(text)


@given(st.text(alphabet='{}()[]"\\ab:.@$#\n'))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ValueError):
        parse_operation(text)


def test_deep_nesting_is_refused_not_followed() -> None:
    with pytest.raises(ValueError, match="too deep"):
        parse_operation("{" + "...{" * 10_000 + "a" + "}" * 10_001)
