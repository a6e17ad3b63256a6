"""APISIX's condition language (``vars``, ``match``, ``case``, ``filter``), compiled to closures.

A document is a list. A leaf is ``[variable, operator, value]``, the same with "!" before the
operator (negated), or ``[variable, value]`` (equality). A list of lists is ANDed; a list that
starts with AND, OR, !AND or !OR joins the rest. The empty list is true. Everything is decided at
compile time but the values of variables.

Source: lua-resty-expr (semantics and error texts), lua-resty-ipmatcher. Differs: shapes that
lua-resty-expr lets pass unread (more than four items, a variable that is no string, text among
operands) are refused; ``re`` stands in for PCRE, see ``regex``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from ..http.addresses import AddressSet
from ..types import JSON
from .body import check_body_field
from .regex import compile_regex
from .variables import getter

if TYPE_CHECKING:
    from ..context import Context

Predicate: TypeAlias = Callable[["Context"], bool]
Test: TypeAlias = Callable[[JSON], bool]

LOGIC: Final = frozenset({"AND", "OR", "!AND", "!OR"})
MAX_DEPTH: Final = 64
"""Deepest nesting; what a person writes has two or three levels."""

_NUMBER = re.compile(
    r"\s*(?:[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?P<hex>[+-]?0[xX][0-9A-Fa-f]+))\s*",
    re.ASCII,
)


def compile_expression(document: JSON, *, aliases: Mapping[str, str] | None = None) -> Predicate:
    """Compile a condition. Raises ValueError with lua-resty-expr's text.

    ``aliases`` are further operator names, e.g. ``{"!=": "~="}`` for PingSIX's traffic-split.
    """
    if not isinstance(document, list):
        raise ValueError("rule should be wrapped inside brackets")
    if not document:
        return _always
    first = document[0]
    if not isinstance(first, list) and not _is_logic(first):
        raise ValueError("rule should be wrapped inside brackets")
    return _compile(document, aliases or {}, 0)


def _always(ctx: Context) -> bool:
    return True


def _is_logic(item: JSON) -> bool:
    return isinstance(item, str) and item.upper() in LOGIC


def _compile(rule: JSON, aliases: Mapping[str, str], depth: int) -> Predicate:
    if not isinstance(rule, list) or depth > MAX_DEPTH:
        raise ValueError("invalid expression")
    if not rule:
        raise ValueError("rule too short")
    if isinstance(rule[0], list):
        return _all([_compile(item, aliases, depth + 1) for item in rule])
    if not _is_logic(rule[0]):
        return _leaf(rule, aliases)
    if len(rule) < 3:
        raise ValueError("rule too short")
    operator = rule[0].upper()
    operands = [_compile(item, aliases, depth + 1) for item in rule[1:]]
    joined = _any(operands) if operator.endswith("OR") else _all(operands)
    return _negated(joined) if operator.startswith("!") else joined


def _all(operands: Sequence[Predicate]) -> Predicate:
    if len(operands) == 1:
        return operands[0]

    def holds(ctx: Context) -> bool:
        for operand in operands:  # noqa: SIM110 - runs per request, a generator costs more
            if not operand(ctx):
                return False
        return True

    return holds


def _any(operands: Sequence[Predicate]) -> Predicate:
    def holds(ctx: Context) -> bool:
        for operand in operands:  # noqa: SIM110 - as in _all
            if operand(ctx):
                return True
        return False

    return holds


def _negated(predicate: Predicate) -> Predicate:
    return lambda ctx: not predicate(ctx)


def _leaf(rule: list[JSON], aliases: Mapping[str, str]) -> Predicate:
    negated = False
    match rule:
        case [name, value] if not _is_operator(value, aliases):
            operator: JSON = "=="
            if value is None:
                raise ValueError("invalid expression")
        case [name, operator]:  # a value that was left out is the same as null
            value = None
        case [name, operator, value]:
            pass
        case [name, "!", operator, value]:
            negated = True
        case [_, _, _, _]:
            raise ValueError("bad 'not' expression")
        case _:
            raise ValueError("invalid expression")
    if not isinstance(name, str):
        raise ValueError("invalid expression")
    if not _is_operator(operator, aliases):
        raise ValueError(f"invalid operator '{operator}'")
    try:
        check_body_field(name)
    except ValueError as error:
        raise ValueError(f"invalid expression: {error}") from None
    lowered = operator.lower()
    test = _OPERATORS[aliases.get(lowered, lowered)](value)
    read = getter(name)
    if negated:
        return lambda ctx: not test(read(ctx))
    return lambda ctx: test(read(ctx))


def _is_operator(item: JSON, aliases: Mapping[str, str]) -> bool:
    return isinstance(item, str) and (item.lower() in _OPERATORS or item.lower() in aliases)


def _is_number(value: JSON) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: JSON) -> float | None:
    """Return the number a value stands for, as Lua's tonumber; None when it stands for none."""
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value)
        if found is None:
            return None
        return _float(int(value, 16)) if found["hex"] else float(value)
    return _float(value) if _is_number(value) else None


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond every float
        return math.inf if value > 0 else -math.inf


def _same(left: JSON, right: JSON) -> bool:
    """Compare without conversion; True is not 1, and tables are never equal, as in Lua."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return not isinstance(left, (list, dict)) and bool(left == right)


def _equal(value: JSON) -> Test:
    if _is_number(value):
        wanted = _float(value)
        return lambda got: _number(got) == wanted
    if isinstance(value, str):
        return lambda got: bool(got == value)
    if value is None:
        return lambda got: got is None
    return lambda got: _same(got, value)


def _unequal(value: JSON) -> Test:
    equal = _equal(value)
    return lambda got: not equal(got)


def _ordered(compare: Callable[[float, float], bool]) -> Callable[[JSON], Test]:
    def make(value: JSON) -> Test:
        limit = _number(value)
        if limit is None:
            return lambda got: False

        def test(got: JSON) -> bool:
            number = _number(got)
            return number is not None and compare(number, limit)

        return test

    return make


def _matching(*, ignore_case: bool) -> Callable[[JSON], Test]:
    def make(value: JSON) -> Test:
        if not isinstance(value, str) and not _is_number(value):
            raise ValueError(f"invalid regex '{value}': expected a string")
        search = compile_regex(str(value), ignore_case=ignore_case).search

        def test(got: JSON) -> bool:
            if isinstance(got, str):
                return search(got) is not None
            return _is_number(got) and search(str(got)) is not None

        return test

    return make


def _in(value: JSON) -> Test:
    if not isinstance(value, list):
        return lambda got: False
    texts = frozenset(item for item in value if isinstance(item, str))
    others = [item for item in value if item is not None and not isinstance(item, str)]
    if not others:
        return lambda got: isinstance(got, str) and got in texts
    return lambda got: (
        got in texts if isinstance(got, str) else any(_same(got, item) for item in others)
    )


def _has(value: JSON) -> Test:
    return lambda got: isinstance(got, list) and any(_same(item, value) for item in got)


def _ip_match(value: JSON) -> Test:
    entries = value if isinstance(value, list) else [value]
    if not entries or not all(isinstance(entry, str) for entry in entries):
        raise ValueError("invalid ip address")
    try:
        addresses = AddressSet(entries)
    except ValueError:
        raise ValueError("invalid ip address") from None
    return lambda got: isinstance(got, str) and got in addresses


_OPERATORS: Final[Mapping[str, Callable[[JSON], Test]]] = {
    "==": _equal,
    "~=": _unequal,
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    "~~": _matching(ignore_case=False),
    "~*": _matching(ignore_case=True),
    "in": _in,
    "has": _has,
    "ipmatch": _ip_match,
}
