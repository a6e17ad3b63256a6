"""The public names are declared, exist, belong to us, and are in the docs."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

import pingsix_asgi

DOCS = Path(__file__).parents[1] / "docs"


def public_names(module: ModuleType) -> set[str]:
    names = {name for name in vars(module) if not name.startswith("_")}
    return {name for name in names if not isinstance(getattr(module, name), ModuleType)}


def test_all_lists_every_public_name_in_order() -> None:
    declared = [name for name in pingsix_asgi.__all__ if name != "__version__"]
    assert declared == sorted(declared)
    assert set(declared) == public_names(pingsix_asgi) - {"annotations"}


@pytest.mark.parametrize("name", pingsix_asgi.__all__)
def test_public_name_exists_and_says_what_it_is(name: str) -> None:
    value = getattr(pingsix_asgi, name)
    if isinstance(value, type) or callable(value):
        assert value.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("name", [n for n in pingsix_asgi.__all__ if n != "__version__"])
def test_public_name_is_in_the_docs(name: str) -> None:
    pages = [page.read_text() for page in DOCS.rglob("*.md")]
    assert any(re.search(rf"\b{re.escape(name)}\b", page) for page in pages), name


def test_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert version("pingsix-asgi") == pingsix_asgi.__version__
