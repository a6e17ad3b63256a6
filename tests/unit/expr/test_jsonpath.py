"""JSONPath, the part that is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.expr.jsonpath import compile_path

SHOP = {
    "book": [{"t": "a", "p": 1}, {"t": "b", "p": 2, "x": {"t": "deep"}}],
    "bike": {"p": 9},
    "a b": 1,
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("book[*].t", ["a", "b"]),
        ("$.book[0].t", ["a"]),
        ("book[-1].t", ["b"]),
        ("book[2].t", []),
        ("bike.*", [9]),
        ("*.p", [9]),
        ("..p", [1, 2, 9]),
        ("$..t", ["a", "b", "deep"]),
        ("book..t", ["a", "b", "deep"]),
        ("book[*]['t']", ["a", "b"]),
        ('["a b"]', [1]),
        ("book[*][*]", ["a", 1, "b", 2, {"t": "deep"}]),
        ("bike[0]", []),
        ("book.t", []),
    ],
)
def test_paths(path: str, values: list[Any]) -> None:
    assert compile_path(path)(SHOP) == values


@pytest.mark.parametrize("path", ["", "$", "a[", "a[?(@.b)]", "a]", "[]", "a...b", "[1:2]"])
def test_bad_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="bad path"):
        compile_path(path)


def test_what_is_found_is_bounded() -> None:
    document: Any = [[[[0] * 20] * 20] * 20] * 20
    assert len(compile_path("..*..*..*")(document)) == 10_000


@given(
    st.recursive(
        st.none() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("ab"), inner),
    )
)
def test_descent_meets_every_value_once(document: Any) -> None:
    def every(value: Any) -> int:
        children = value.values() if isinstance(value, dict) else value
        if not isinstance(value, (dict, list)):
            return 0
        return len(value) + sum(every(child) for child in children)

    assert len(compile_path("..*")(document)) == min(every(document), 10_000)
