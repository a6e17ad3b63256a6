"""Query strings: reading, editing, writing."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.http.query import argument, arguments, pairs, without_argument


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        (b"", "a", None),
        (b"a=1", "a", "1"),
        (b"a=1&a=2", "a", "1"),
        (b"b=2&a", "a", ""),
        (b"a=", "a", ""),
        (b"a=b=c", "a", "b=c"),
        (b"A=1", "a", None),
        (b"%61=1", "a", "1"),
        (b"a+b=1", "a b", "1"),
        (b"a+b=1", "a+b", None),
        (b"a%2Bb=1", "a+b", "1"),
        (b"%61=1", "%61", None),
        (b"%2561=1", "%61", "1"),
        (b"a=x+y%20z%2B", "a", "x y z+"),
        (b"a=%zz", "a", "%zz"),
        (b"a=%C3%A9", "a", "é"),
        (b"a=%FF", "a", "\udcff"),
        (b"&&=1&a=2", "a", "2"),
        (b"aa=1", "a", None),
    ],
)
def test_the_first_value_decoded(query: bytes, name: str, value: str | None) -> None:
    assert argument(query, name) == value


def test_arguments_by_name() -> None:
    assert arguments(b"a=1&b=2&a=3&c&a=4") == {"a": ["1", "3", "4"], "b": "2", "c": ""}


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (b"k=1", b""),
        (b"a=1&k=2&b=%20", b"a=1&b=%20"),
        (b"%6b=1&kk=2&k", b"kk=2"),
        (b"a=1&&b", b"a=1&&b"),
        (b"", b""),
    ],
)
def test_taking_an_argument_out_leaves_the_rest_untouched(query: bytes, left: bytes) -> None:
    assert without_argument(query, "k") == left


NAMES = st.text(min_size=1).filter(lambda text: text.isprintable())


@given(st.lists(st.tuples(NAMES, st.text(st.characters(exclude_categories=["Cs"])))))
def test_what_is_written_reads_back(items: list[tuple[str, str]]) -> None:
    query = urlencode(items).encode()
    assert pairs(query) == items
    for name, _ in items:
        assert argument(query, name) == next(value for key, value in items if key == name)
        assert argument(without_argument(query, name), name) is None


@given(st.binary(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_argument_is_the_first_of_pairs(query: bytes, name: str) -> None:
    expected = next((value for key, value in pairs(query) if key == name), None)
    assert argument(query, name) == expected
