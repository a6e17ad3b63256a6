"""The condition language, operator by operator, against the specification's table."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.expr.expression import compile_expression
from support.contexts import make_context


def holds(document: Any, **variables: Any) -> bool:
    ctx = make_context()
    ctx.vars = dict(variables)
    return compile_expression(document)(ctx)


@pytest.mark.parametrize(
    ("got", "operator", "value", "result"),
    [
        # == and ~=: by text, or as numbers when the value is one
        ("a", "==", "a", True),
        ("a", "==", "A", False),
        ("1", "==", 1, True),
        (" 1.0 ", "==", 1, True),
        ("0x10", "==", 16, True),
        ("1e2", "==", 100, True),
        ("x", "==", 1, False),
        ("", "==", 0, False),
        ("1_0", "==", 10, False),
        ("inf", "==", 1e999, False),
        (None, "==", 1, False),
        (None, "==", "a", False),
        (None, "==", None, True),
        ("a", "==", None, False),
        (1, "==", "1", False),
        (True, "==", True, True),
        (True, "==", 1, False),
        (1, "==", True, False),
        ("true", "==", True, False),
        (["a"], "==", ["a"], False),
        ("a", "~=", "b", True),
        ("a", "~=", "a", False),
        ("x", "~=", 1, True),
        ("1", "~=", 1, False),
        (None, "~=", "a", True),
        (None, "~=", None, False),
        ("a", "~=", None, True),
        # order: numbers on both sides, else false
        ("2", ">", 1, True),
        ("10", ">", "9", True),
        ("1", ">", 1, False),
        ("1", ">=", 1, True),
        ("0", "<", 1, True),
        ("-1", "<", "0", True),
        ("1", "<=", 1, True),
        ("1.5", "<=", 1, False),
        ("b", ">", "a", False),
        ("b", "<", "a", False),
        (None, "<", 1, False),
        ("1", ">", None, False),
        ("0x" + "f" * 400, ">", 1, True),
        ("9" * 400, ">", 10**400, False),
        # regular expressions search; a missing variable does not match
        ("hello", "~~", "^he", True),
        ("hello", "~~", "ell", True),
        ("hello", "~~", "^ell", False),
        ("Hello", "~~", "hello", False),
        ("Hello", "~*", "^hello$", True),
        (None, "~~", ".*", False),
        (None, "~*", ".*", False),
        (12, "~~", "^1", True),
        (["a"], "~~", "a", False),
        ("é", "~~", r"^\w$", False),
        ("a1", "~~", 1, True),
        # membership, without conversion
        ("a", "in", ["a", "b"], True),
        ("c", "in", ["a", "b"], False),
        ("1", "in", [1], False),
        (1, "in", [1], True),
        (True, "in", [1], False),
        (None, "in", [None], False),
        ("a", "in", "a", False),
        (["x", "y"], "has", "x", True),
        (["x", "y"], "has", "z", False),
        ([1], "has", "1", False),
        ([1], "has", 1, True),
        ("x", "has", "x", False),
        (None, "has", "x", False),
        # addresses
        ("10.1.2.3", "ipmatch", "10.0.0.0/8", True),
        ("10.1.2.3", "ipmatch", ["192.0.2.1", "10.1.2.3"], True),
        ("11.1.2.3", "ipmatch", ["10.0.0.0/8"], False),
        ("2001:db8::5", "ipmatch", "2001:db8::/32", True),
        ("::ffff:10.0.0.1", "ipmatch", "10.0.0.0/8", True),
        ("nonsense", "ipmatch", "0.0.0.0/0", False),
        (None, "ipmatch", "0.0.0.0/0", False),
    ],
)
def test_operators(got: Any, operator: str, value: Any, result: bool) -> None:
    assert holds([["v", operator, value]], v=got) is result
    assert holds([["v", operator.upper(), value]], v=got) is result
    assert holds([["v", "!", operator, value]], v=got) is not result


def test_two_items_mean_equality_unless_the_second_is_an_operator() -> None:
    assert holds([["v", "a"]], v="a")
    assert holds([["v", "A"]], v="A")
    assert holds([["v", 1]], v="1")
    assert holds([["v", "=="]], v=None)
    assert not holds([["v", "=="]], v="==")
    assert holds([["v", "in"]], v="in") is False


TRUE, FALSE = ["v", "==", "1"], ["v", "==", "2"]


@pytest.mark.parametrize(
    ("document", "result"),
    [
        ([], True),
        ([TRUE], True),
        ([TRUE, TRUE], True),
        ([TRUE, FALSE], False),
        (["AND", TRUE, FALSE], False),
        (["OR", TRUE, FALSE], True),
        (["or", FALSE, FALSE], False),
        (["!AND", TRUE, TRUE], False),
        (["!and", TRUE, FALSE], True),
        (["!OR", FALSE, FALSE], True),
        (["!or", TRUE, FALSE], False),
        (["AND", TRUE, ["OR", FALSE, ["!AND", TRUE, FALSE]]], True),
        (["OR", FALSE, [TRUE, TRUE]], True),
        ([["OR", FALSE, TRUE], TRUE], True),
        ([[TRUE, FALSE]], False),
    ],
)
def test_logic(document: Any, result: bool) -> None:
    assert holds(document, v="1") is result


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (["v", "==", "a"], "rule should be wrapped inside brackets"),
        ("v", "rule should be wrapped inside brackets"),
        ({"v": 1}, "rule should be wrapped inside brackets"),
        (None, "rule should be wrapped inside brackets"),
        ([1, 2], "rule should be wrapped inside brackets"),
        ([["v", "!=", "a"]], "invalid operator '!='"),
        ([["v", "=", "a"]], "invalid operator '='"),
        ([["v", 5, "a"]], "invalid operator '5'"),
        ([["v", "!", "=>", "a"]], "invalid operator '=>'"),
        ([[]], "rule too short"),
        (["AND", TRUE], "rule too short"),
        (["OR"], "rule too short"),
        ([TRUE, ["!OR", TRUE]], "rule too short"),
        ([["v", "not", "==", "a"]], "bad 'not' expression"),
        ([["v"]], "invalid expression"),
        ([["v", None]], "invalid expression"),
        ([[5, "==", "a"]], "invalid expression"),
        ([["v", "==", "a", "b", "c"]], "invalid expression"),
        (["AND", TRUE, "x"], "invalid expression"),
        ([TRUE, 5], "invalid expression"),
        ([["v", "ipmatch", "10.0.0.300"]], "invalid ip address"),
        ([["v", "ipmatch", ["10.0.0.0/8", 5]]], "invalid ip address"),
        ([["v", "ipmatch", []]], "invalid ip address"),
        ([["v", "~~", "("]], r"invalid regex '\('"),
        ([["v", "~*", None]], "invalid regex"),
        ([["v", "~~", "a++b(?1)"]], "not supported"),
    ],
)
def test_refusals(document: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_expression(document)


def test_nesting_is_bounded() -> None:
    document: Any = TRUE
    for _ in range(100_000):
        document = [document]
    with pytest.raises(ValueError, match="invalid expression"):
        compile_expression(document)


def test_aliases_add_operators() -> None:
    ctx = make_context("/?a=1")
    document = [["arg_a", "!=", "2"]]
    assert compile_expression(document, aliases={"!=": "~="})(ctx)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(
    ["v", "AND", "OR", "!AND", "!OR", "==", "~=", ">", "in", "has", "~~", "ipmatch", "!", "1"]
)
DOCUMENTS = st.recursive(
    WORDS | JSON_VALUES, lambda inner: st.lists(inner, max_size=5), max_leaves=20
)


@given(DOCUMENTS, JSON_VALUES)
def test_any_document_is_refused_or_gives_a_verdict(document: Any, value: Any) -> None:
    ctx = make_context()
    ctx.vars = {"v": value}
    with suppress(ValueError):
        assert compile_expression(document)(ctx) in (True, False)
