"""Links in the docs lead somewhere, and their examples are what they claim to be.

A YAML or JSON block that is a configuration file (it has ``routes``, ``pingsix``, ...) must pass
``pingsix-asgi check``. ``<!-- unchecked: reason -->`` on the line before a block exempts it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pingsix_asgi.app import PingSIX
from pingsix_asgi.cli import main
from pingsix_asgi.plugin.describe import options
from pingsix_asgi.plugin.registry import Registry
from pingsix_asgi.testing import Client, EchoApp
from support.pki import PKI

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
INLINE = re.compile(r"`[^`\n]+`")
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


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for fence in FENCE.finditer(text):
            before = text[: fence.start()]
            if fence[2] in languages and not EXEMPT.search(before):
                line = before.count("\n") + 1
                found.append(Block(page, line, fence[2], textwrap.dedent(fence[3])))
    return found


def is_configuration(document: Any) -> bool:
    return isinstance(document, dict) and bool(document.keys() & CONFIGURATION_KEYS)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    targets = LINK.findall(INLINE.sub("", FENCE.sub("", page.read_text())))
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
    PKI().write(tmp_path, "shop.example")
    text = block.text.replace("/etc/pingsix/default.", f"{tmp_path}/own.")  # what pages name
    file.write_text(text)
    assert main(["check", "-c", str(file)]) == 0, capsys.readouterr()


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_examples_compile(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", blocks("bash", "sh"), ids=str)
def test_shell_examples_are_valid_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


async def test_the_plugin_that_is_written_in_the_docs_passes_its_own_tests() -> None:
    namespace: dict[str, Any] = {"__name__": "docs"}
    for block in blocks("python"):
        if block.page.name == "writing-a-plugin.md":
            exec(compile(block.text, str(block), "exec"), namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        await test()
    for app in (namespace["app"], namespace["alone_shop"]):
        assert (await namespace["Client"](app).get("/v1/books")).header("deprecation") == "true"
    await namespace["app"].shutdown()


async def test_plugins_alone_and_middlewares_as_plugins_as_in_the_docs() -> None:
    namespace: dict[str, Any] = {"__name__": "docs"}
    for block in blocks("python"):
        if block.page.name == "plugins-alone.md":
            exec(compile(block.text, str(block), "exec"), namespace)
    headers = {"host": "shop.example", "origin": "https://shop.example", "accept-encoding": "gzip"}
    alone = Client(namespace["api"])
    answer = await alone.get("/hello", headers)
    assert answer.json() == {"message": "hello"}
    assert answer.header("access-control-allow-origin") == "https://shop.example"
    assert answer.header("x-ratelimit-remaining") == "1"
    gateway = Client(namespace["app"])
    answer = await gateway.get("/hello", headers)
    assert (answer.status, answer.header("content-encoding")) == (200, "gzip")
    assert answer.header("x-request-id")
    assert (await gateway.get("/hello", headers)).status == 429
    assert (await gateway.get("/hello", {"host": "other.example"})).status == 400
    await namespace["app"].shutdown()


async def test_what_the_page_of_hmac_auth_signs_is_accepted() -> None:
    namespace: dict[str, Any] = {}
    for block in blocks("python"):
        if block.page.name == "hmac-auth.md":
            exec(compile(block.text, str(block), "exec"), namespace)
    conf = {"signed_headers": ["date", "digest"], "validate_request_body": True}
    credential = {"key_id": "jack-key", "secret_key": "jack-secret"}
    config = {
        "routes": [{"id": "1", "uri": "/*", "plugins": {"hmac-auth": conf}}],
        "consumers": [{"username": "jack", "plugins": {"hmac-auth": credential}}],
    }
    app = PingSIX(EchoApp(), config=config)
    headers = namespace["signed"]("POST", "/a?b=c", "jack-key", "jack-secret", b"body")
    for target, body, status in (
        ("/a?b=c", b"body", 200),
        ("/a", b"body", 401),
        ("/a?b=c", b"", 401),
    ):
        answer = await Client(app).request("POST", target, headers=headers, body=body)
        assert answer.status == status, (target, body)
    await app.shutdown()


def test_the_list_of_plugins_is_complete() -> None:
    page = (ROOT / "docs/plugins/index.md").read_text()
    registry = Registry()
    named = [re.escape(name) for name in registry.names()]
    missing = [name for name in named if not re.search(rf"^\| \[?`{name}`", page, re.MULTILINE)]
    assert not missing


def test_generated_parts_of_the_plugin_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/plugin-docs", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + "run scripts/plugin-docs"


def test_every_option_of_every_plugin_says_what_it_is() -> None:
    registry, silent = Registry(), []
    for name in registry.names():
        plugin = registry.find(name)
        for model in (plugin.Conf, plugin.ConsumerConf, plugin.Metadata):
            found = options(model) if model is not None else []
            silent += [f"{name}: {one.name}" for one in found if not one.description]
    assert not silent
