"""The demo runs from its script, shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 50


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "scripts/demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "VENV_PYTHON": sys.executable, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def shown() -> str:
    demo = start("--once")
    try:
        output, _ = demo.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        os.killpg(demo.pid, signal.SIGKILL)
        raise
    assert demo.returncode == 0, output
    return output


def answers(shown: str, part: str) -> list[tuple[str, str]]:
    """Return (curl line, what it printed) for one half of the demo."""
    half = next(text for text in shown.split("\n== ") if text.startswith(part))
    pieces = re.split(r"^\$ (curl .*)$", half, flags=re.MULTILINE)[1:]
    return list(zip(pieces[::2], pieces[1::2], strict=True))


def statuses(found: list[tuple[str, str]]) -> list[int]:
    return [int(text.split()[1]) for _, text in found]


def test_in_process_policies(shown: str) -> None:
    found = answers(shown, "In-process")
    assert statuses(found) == [200, 401, 201, 200, 200, 429]
    page = found[0][1].lower()
    assert "access-control-allow-origin: https://shop.example" in page
    assert "x-ratelimit-remaining: 2" in page
    request_id = re.search(r"x-request-id: (\S+)", found[2][1].lower())
    assert request_id is not None
    assert f'"request_id":"{request_id[1]}"' in found[2][1]
    assert "slow down, please" in found[-1][1]


def test_standalone_policies_and_balancing(shown: str) -> None:
    found = answers(shown, "Standalone")
    assert statuses(found) == [200, 200, 401, 201, 404]
    assert {re.search(r"shop-\d", text)[0] for _, text in found[:2]} == {"shop-1", "shop-2"}


def test_readme_shows_lines_of_the_demo(shown: str) -> None:
    readme = (ROOT / "README.md").read_text()
    readme = readme.partition("## The demo")[2].partition("## In-process")[0]
    quoted = re.findall(r"^\$ (curl .*)$", readme, flags=re.MULTILINE)
    printed = {re.sub(r":\d{4,5}/", "/", line) for line in re.findall(r"^\$ (.*)$", shown, re.M)}
    assert quoted
    assert [line for line in quoted if re.sub(r":\d{4,5}/", "/", line) not in printed] == []


@pytest.fixture
def running() -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The demo that goes on running, and the lines it printed so far."""
    demo = start()
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(demo.stdout), daemon=True)
    reader.start()
    yield demo, lines
    if demo.poll() is None:
        os.killpg(demo.pid, signal.SIGKILL)
        demo.wait()
    reader.join(5)
    demo.stdout.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_printed_lines_work_and_interrupt_stops_everything(
    running: tuple[subprocess.Popen[str], list[str]],
) -> None:
    demo, lines = running
    deadline = time.monotonic() + DEADLINE_S
    while not any("Ctrl-C" in line for line in lines):
        assert demo.poll() is None, lines
        assert time.monotonic() < deadline, lines
        time.sleep(0.05)
    text = "".join(lines)
    (line, _), *_ = answers(text, "Standalone")
    printed = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=10)
    assert printed.stdout.startswith("HTTP/1.1 200"), printed

    demo.send_signal(signal.SIGINT)
    assert demo.wait(DEADLINE_S) == 0
    assert subprocess.run(line, shell=True, capture_output=True, timeout=10).returncode == 7
