"""PCRE patterns under ``re``."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.expr.regex import compile_regex, compile_rule


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("(?<year>[0-9]{4})-\\k<year>", "2026-2026", True),
        ("(?'y'a)\\k{y}", "aa", True),
        ("(?<!x)a", "xa", False),
        ("(?<=x)a", "xa", True),
        ("a\\z", "a\n", False),
        ("a\\Z", "a\n", True),
        ("a\\Z", "a\nb", False),
        ("a$", "a\n", True),
        ("a\\hb", "a\tb", True),
        ("^a\\Rb$", "a\r\nb", True),
        ("\\x{e9}", "é", True),
        ("\\x41", "A", True),
        ("\\Qa.b(\\E+", "a.b((", True),
        ("\\Qa.b", "axb", False),
        ("[[:alpha:]]+[[:digit:]]", "ab1", True),
        ("^[^[:space:]]+$", "a b", False),
        ("[]a]", "]", True),
        ("[^]a]", "]", False),
        ("[[]", "[", True),
        ("[a&&b~~c||d]", "&", True),
        ("[\\h]", "\t", True),
        ("(?i)ABC", "abc", True),
        ("a(?i)b", "aB", True),
        ("a(?i)b", "AB", False),
        ("a(?i)b|c", "C", True),
        ("a(?i)b|c", "AB", False),
        ("(a(?i)b)c", "aBC", False),
        ("(a(?i)b)c", "aBc", True),
        ("(?:a(?i)b|x)y", "Xy", True),
        ("^(?>a+)b", "aab", True),
        ("a++a", "aaa", False),
        ("\\d", "\u0663", False),
        ("\\w", "é", False),
        ("(?s)a.b", "a\nb", True),
        ("a\\)b(c)", "a)bc", True),
        ("[(](?i)x", "(X", True),
    ],
)
def test_translated(pattern: str, text: str, found: bool) -> None:
    assert (compile_regex(pattern).search(text) is not None) is found


def test_ignoring_case() -> None:
    assert compile_regex("abc", ignore_case=True).search("xABCx")


@pytest.mark.parametrize(
    "pattern",
    [
        *("(", ")", "[a", "a**", "*a", "(?<n>a)(?<n>b)", "\\2(a)"),
        *("(?R)", "(?1)", "(?&n)", "(?P>n)", "(?|a|b)", "(*FAIL)", "(?C1)"),
        *("\\K", "\\G", "\\X", "\\p{L}", "\\g{1}", "[\\p{L}]", "[[:^alpha:]]", "[[:nope:]]"),
        "\\x{ffffffff}",
        *("\\x{110000}", "[a--b]"),
    ],
)
def test_refused_with_a_reason(pattern: str) -> None:
    with pytest.raises(ValueError, match="invalid regex"):
        compile_regex(pattern)


@given(st.text(alphabet="ab.*+?()[]{}|^$\\QEzhk<>:=!i-1x0"))
def test_any_text_compiles_or_is_refused(pattern: str) -> None:
    with suppress(ValueError):
        compile_regex(pattern)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a(b", "missing closing parenthesis"),
        ("a)b", "unmatched closing parenthesis"),
        ("[ab", "missing terminating ] for character class"),
        ("[b-a]", "range out of order in character class"),
        ("+", "quantifier does not follow a repeatable item"),
        ("a\\", "\\ at end of pattern"),
        ("(?R)", "(?R is not supported"),
    ],
)
def test_rules_are_refused_in_the_words_of_pcre2(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match="pcre2_compile") as caught:
        compile_rule(pattern)
    assert str(caught.value) == f'pcre2_compile() failed: {reason} in "{pattern}"'


def test_a_good_rule_compiles() -> None:
    assert compile_rule("A[[:digit:]]", ignore_case=True).search("xa7")
