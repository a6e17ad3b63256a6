"""docs/variables.md and docs/routing.md against the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pingsix_asgi.expr.expression import compile_expression
from pingsix_asgi.expr.variables import known_names
from pingsix_asgi.routing.pattern import parse_path

DOCS = Path(__file__).parents[3] / "docs"


def test_every_variable_is_documented() -> None:
    text = (DOCS / "variables.md").read_text()
    documented = set(re.findall(r"`([a-z_0-9.]+?)(?:NAME|PATH)?`", text))
    names, prefixes = known_names()
    assert not set(names) - documented
    assert not set(prefixes) - documented


EXAMPLES = re.findall(r"```json\n(.*?)```", (DOCS / "routing.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_expressions_compile(example: str) -> None:
    assert compile_expression(json.loads(example))


def test_the_patterns_of_the_table_are_accepted() -> None:
    table = (DOCS / "routing.md").read_text().split("## Paths")[1].split("\n\n")[2]
    written = [cell for row in table.splitlines()[2:] for cell in row.split("|")[1:2]]
    patterns = [pattern for cell in written for pattern in re.findall("`([^`]+)`", cell)]
    assert len(patterns) > 8
    for pattern in patterns:
        parse_path(pattern)
