"""Ceilings that keep a file one subject and a function one thought."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("pingsix_asgi", "sidecar", "examples", "benchmarks")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

ALLOWED: dict[str, str] = {}
"""``file`` or ``file::function`` over the ceiling, with the reason why it reads better that way."""

FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> list[tuple[str, int]]:
    """Return each function's name and its lines, docstring not counted."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                text = node.body[0]
                lines -= (text.end_lineno or text.lineno) - text.lineno + 1
            found.append((node.name, lines))
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_sizes(path: Path) -> None:
    file = name_of(path)
    too_big = [
        f"{file}::{function} has {lines} lines"
        for function, lines in functions(path)
        if lines > MAX_FUNCTION_LINES and f"{file}::{function}" not in ALLOWED
    ]
    lines = len(path.read_text().splitlines())
    if lines > MAX_FILE_LINES and file not in ALLOWED:
        too_big.append(f"{file} has {lines} lines")
    assert not too_big


@pytest.mark.parametrize("place", ALLOWED)
def test_what_is_allowed_is_still_there(place: str) -> None:
    file, _, function = place.partition("::")
    path = ROOT / file
    sizes = dict(functions(path)) if function else {"": len(path.read_text().splitlines())}
    assert sizes[function] > (MAX_FUNCTION_LINES if function else MAX_FILE_LINES)
