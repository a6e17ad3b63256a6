"""Who may import whom. Imports under TYPE_CHECKING do not count: they bind nothing at run time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pingsix_asgi"

BASE = frozenset(("errors", "types", "clock"))
DATA = BASE | {"http", "expr", "model", "settings", "shared"}
CONTRACTS = DATA | {"context", "plugin", "secrets"}
MACHINERY = CONTRACTS | {
    "engine",
    "routing",
    "upstream",
    "proxy",
    "ratelimit",
    "telemetry",
    "logs",
    "cache",
}

MAY_IMPORT: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "types": frozenset(),
    "clock": frozenset(),
    "http": BASE,
    "expr": BASE | {"http"},
    "model": BASE | {"http", "expr"},
    "settings": BASE | {"model"},
    "shared": BASE,
    "context": DATA,
    "plugin": DATA | {"context"},
    "secrets": DATA | {"plugin"},
    "engine": CONTRACTS,
    "routing": CONTRACTS,
    "ratelimit": CONTRACTS,
    "telemetry": CONTRACTS,
    "logs": CONTRACTS,
    "cache": CONTRACTS,
    "tls": CONTRACTS,
    "upstream": CONTRACTS,
    "proxy": CONTRACTS | {"upstream"},
    "middleware": CONTRACTS | {"ratelimit", "upstream", "telemetry", "logs", "cache"},
    "adapters": CONTRACTS | {"engine", "proxy"},
    "snapshot": MACHINERY | {"tls"},
    "config": MACHINERY,
}
"""What each part of the package may import, itself aside; parts not named may import everything."""

TOP = frozenset(("__init__", "__main__", "app", "cli", "control", "serving", "testing"))

LONE_FOLDERS = frozenset(("middleware",))
"""Folders whose files may not import one another."""


def part_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imported(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the line and the dotted name below the package of each run-time import of our own."""
    package = ("pingsix_asgi", *path.relative_to(PACKAGE).parts[:-1])
    for node in _run_time_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = tuple(alias.name.split("."))
                if name[0] == "pingsix_asgi":
                    yield node.lineno, name[1:]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            if base and base[0] == "pingsix_asgi":
                for alias in node.names:
                    yield node.lineno, (*base[1:], alias.name)


def _run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from _run_time_nodes(child)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    part = part_of(path)
    if part in TOP:
        return
    assert part in MAY_IMPORT, f"{part} has no place in the layers: add it to MAY_IMPORT"
    wrong = [
        f"line {line} imports {'.'.join(name)}"
        for line, name in imported(path)
        if name[0] not in MAY_IMPORT[part] | {part, "__version__"}
    ]
    assert not wrong, wrong


@pytest.mark.parametrize(
    "path", [p for p in FILES if part_of(p) in LONE_FOLDERS], ids=lambda p: p.stem
)
def test_a_plugin_imports_no_other_plugin(path: Path) -> None:
    part = part_of(path)
    siblings = {p.stem for p in (PACKAGE / part).glob("*.py")} - {path.stem}
    wrong = [".".join(n) for _, n in imported(path) if n[0] == part and n[1] in siblings]
    assert not wrong, wrong


def test_only_the_top_is_free_to_import_everything() -> None:
    parts = {part_of(path) for path in FILES}
    assert parts <= MAY_IMPORT.keys() | TOP


def test_the_table_has_no_cycle() -> None:
    done: set[str] = set()
    left = dict(MAY_IMPORT)
    known = set(left)
    while left:
        ready = {part for part, below in left.items() if below & known <= done}
        assert ready, f"a cycle among {sorted(left)}"
        done |= ready
        for part in ready:
            del left[part]
