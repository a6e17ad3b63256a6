"""``scripts/bench`` measures: every number is there, and no errors. How fast is not tested."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 50

pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None or not any(map(shutil.which, ("wrk", "oha", "hey"))),
    reason="nginx, or one of wrk, oha and hey, is not installed",
)


def bench(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    file = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--json", str(file), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize(
    "case",
    [
        "bare pool (uvicorn)",
        "pingsix, 5 plugins (uvicorn)",
        "pingsix, 10 routes (granian)",
        "fastapi in pingsix, 5 plugins (uvicorn)",
    ],
)
def test_a_case_is_measured_without_errors(case: str, tmp_path: Path) -> None:
    quick = ("--rounds", "1", "--seconds", "1", "--measure", "throughput")
    found = bench(tmp_path, "--only", case, *quick)["cases"]
    assert found.keys() == {case}
    assert not found[case]["failure"]
    values = found[case]["values"]
    assert values["rps"][0] > 0
    assert values["errors"] == [0]
    assert values["idle_mb"][0] > 0


def test_large_bodies_are_measured(tmp_path: Path) -> None:
    found = bench(tmp_path, "--only", "nginx", "--rounds", "1", "--measure", "bodies")
    values = found["cases"]["nginx"]["values"]
    assert values["down_mb_s"][0] > 0
    assert values["up_mb_s"][0] > 0


def test_each_plugin_is_measured_alone(tmp_path: Path) -> None:
    quick = ("--rounds", "1", "--seconds", "1", "--measure", "plugins")
    found = bench(tmp_path, "--only", "nginx", *quick)["cases"]
    assert found["none"]["values"]["plugin_cpu_us"][0] > 0
    measured = {name for name, case in found.items() if "plugin_ratio" in case["values"]}
    assert {"request-id", "cors", "key-auth", "limit-count", "prometheus"} < measured


def test_requests_are_measured_in_memory() -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.in_memory",
        "--rounds",
        "3",
        "bare",
        "none",
        "five",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    costs = {name: float(cost) for name, cost in map(str.split, done.stdout.splitlines())}
    assert costs.keys() == {"bare", "none", "five"}
    assert min(costs.values()) > 0


@pytest.mark.skipif(find_spec("slowapi") is None, reason="the bench dependencies are not installed")
def test_the_conventional_stack_does_all_five_things(tmp_path: Path) -> None:
    code = """
import os
os.environ["BENCH_STACK"] = "middlewares"
from fastapi.testclient import TestClient
from benchmarks.apps.in_process import ORIGIN, app
answer = TestClient(app).get("/hello", headers={"origin": ORIGIN})
print(sorted(answer.headers))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    for header in ("access-control-allow-origin", "x-request-id", "x-ratelimit-limit"):
        assert header in done.stdout, done.stderr
