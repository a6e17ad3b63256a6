"""YAML by the rules of 1.2, with variables of the environment."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.config.yaml_text import read_text
from pingsix_asgi.errors import SchemaError, SourceError
from pingsix_asgi.types import JSON

SCALARS: list[tuple[str, JSON]] = [
    ("no", "no"),
    ("on", "on"),
    ("true", True),
    ("False", False),
    ("~", None),
    ("", None),
    ("null", None),
    ("5", 5),
    ("-0", 0),
    ("007", "007"),
    ("0x10", "0x10"),
    ("1_000", "1_000"),
    ("1.50", 1.5),
    (".5", 0.5),
    ("1e3", 1000.0),
    ("1.2.3", "1.2.3"),
    ("12:30", "12:30"),
    ("2024-01-01", "2024-01-01"),
    ("127.0.0.1:80", "127.0.0.1:80"),
    ('"5"', "5"),
    ("'true'", "true"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars(text: str, value: JSON) -> None:
    document = read_text(f"a: {text}\n", {})
    assert document == {"a": value}
    assert type(document["a"]) is type(value)


def test_keys_are_text() -> None:
    assert read_text("1: a\ntrue: b\n", {}) == {"1": "a", "true": "b"}


def test_merge_keys_and_anchors() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2}\nc: {<<: [*b, *a], z: 3}\nd: {'<<': 1}\n"
    document = read_text(text, {})
    assert document["c"] == {"x": 1, "y": 2, "z": 3}
    assert document["d"] == {"<<": 1}


VARIABLES: list[tuple[str, JSON]] = [
    ("${{PORT}}", 8080),
    ('"${{PORT}}"', "8080"),
    ("${{ PORT }}", 8080),
    ("h:${{PORT}}/x", "h:8080/x"),
    ("${{FLAG}}", True),
    ("${{EMPTY}}", None),
    ("${{NOPE:=a b}}", "a b"),
    ("${{NOPE:=}}", None),
    ("${{EMPTY:=x}}", None),
    ('"${{NOPE:=1}}${{PORT}}"', "18080"),
    ("${PORT}", "${PORT}"),
]


@pytest.mark.parametrize(("text", "value"), VARIABLES)
def test_variables(text: str, value: JSON) -> None:
    environ = {"PORT": "8080", "FLAG": "true", "EMPTY": ""}
    assert read_text(f"a: {text}\n", environ) == {"a": value}


def test_a_variable_in_a_key_and_in_a_block() -> None:
    text = "n${{A}}: |\n  line ${{A}}\n"
    assert read_text(text, {"A": "1"}) == {"n1": "line 1\n"}


def test_a_value_cannot_change_the_structure() -> None:
    environ = {"EVIL": "x\nroutes: []"}
    assert read_text("a: ${{EVIL}}\n", environ) == {"a": "x\nroutes: []"}


def test_an_unset_variable_is_named() -> None:
    with pytest.raises(SchemaError, match="can't find environment variable NOPE"):
        read_text("a: ${{NOPE}}", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "line 2, column 1: the key 'a' is given twice"),
        ("a: [", "line 2"),
        ("? [a]\n: b", "expected text as a key"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: {<<: 5}", "expected a mapping after <<"),
        ("a: *nobody", "undefined alias"),
    ],
)
def test_bad_text_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(SourceError) as raised:
        read_text(text, {})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text("abc: #-'é", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc ", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values)
def test_json_is_yaml(value: JSON) -> None:
    assert read_text(json.dumps(value, indent=1), {}) == value
