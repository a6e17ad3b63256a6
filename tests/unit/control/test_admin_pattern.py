"""Patterns of clients find what ``re`` finds, and never take long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingsix_asgi.control.admin.pattern import Pattern

ATOMS = st.sampled_from(["a", "b", "-", ".", "[ab]", "[^a]", "[a-]", r"\w", r"\.", r"\D"])
QUANTIFIERS = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "{0}"])
BODIES = st.lists(st.tuples(ATOMS, QUANTIFIERS).map("".join), max_size=6).map("".join)


@given(st.sampled_from(["", "^"]), BODIES, st.sampled_from(["", "$"]), st.text("ab.-1", max_size=8))
@settings(max_examples=500, deadline=None)
def test_what_re_finds_is_found(start: str, body: str, end: str, text: str) -> None:
    pattern = start + body + end
    assert Pattern(pattern).is_in(text) == (re.search(pattern, text) is not None)


@pytest.mark.parametrize(
    "text",
    [
        *("(a+)+$", "(", "a|b", "a**", "a*+", "a+?", "*", "[a", "[b-a]", "[[a]]", "[a--b]", "a^"),
        *("a$b", r"\1", r"\b", "{", "a{3,2}", "a{999}", "\\", "a{300}b{300}", "a" * 257),
    ],
)
def test_what_could_take_long_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Pattern(text)


def test_many_quantifiers_take_no_longer_than_their_text() -> None:
    assert not Pattern(".*" * 100 + "x$").is_in("a" * 4096)
