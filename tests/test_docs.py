"""Links in the docs lead somewhere, and their examples are what they claim to be.

A YAML or JSON block that is a configuration file (it has ``routes``, ``pingsix``, ...) must pass
``pingsix-asgi check``. ``<!-- unchecked: reason -->`` on the line before a block exempts it.
"""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pingsix_asgi.cli import main

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
CONFIGURATION_KEYS = frozenset(
    (
        "pingora",
        "pingsix",
        "routes",
        "services",
        "upstreams",
        "global_rules",
        "plugin_configs",
        "consumers",
        "ssls",
    )
)
FENCE = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
EXEMPT = re.compile(r"<!-- unchecked: \S.*-->\s*\Z")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for found in FENCE.finditer(text):
            before = text[: found.start()]
            if found[2] in languages and not EXEMPT.search(before):
                yield Block(page, before.count("\n") + 1, found[2], textwrap.dedent(found[3]))


def is_configuration(document: Any) -> bool:
    return isinstance(document, dict) and bool(document.keys() & CONFIGURATION_KEYS)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    targets = LINK.findall(FENCE.sub("", page.read_text()))
    relative = [target for target in targets if not re.match(r"[a-z]+:", target)]
    missing = []
    for target in relative:
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        has_anchor = not anchor or path.suffix != ".md" or not path.exists()
        if not path.exists() or not (has_anchor or anchor in anchors(path)):
            missing.append(target)
    assert not missing


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.strip().replace(" ", "-") for head in plain}


@pytest.mark.parametrize("block", blocks("yaml", "yml", "json"), ids=str)
def test_configuration_examples_pass_check(
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = json.loads(block.text) if block.language == "json" else yaml.safe_load(block.text)
    if not is_configuration(document):
        return
    monkeypatch.chdir(ROOT)
    file = tmp_path / f"config.{block.language}"
    file.write_text(block.text)
    assert main(["check", "-c", str(file)]) == 0, capsys.readouterr()


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_examples_compile(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", blocks("bash", "sh"), ids=str)
def test_shell_examples_are_valid_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
