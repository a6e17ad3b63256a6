"""Put load on a port with wrk; with oha or hey where wrk is missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from .processes import pinned

CONNECTIONS = 64
HEADERS = ("Origin: https://shop.example", "Accept-Encoding: gzip")
_LUA = Path(__file__).with_name("load.lua")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Load:
    """What to send: ``rate`` requests/s in all (0 = as many as will go), spread over ``routes``."""

    path: str
    seconds: int
    routes: int = 0
    rate: int = 0


@dataclass(frozen=True)
class Result:
    rps: float
    seconds: int
    p50_ms: float
    p99_ms: float
    errors: int


def find_tool() -> str | None:
    return next((name for name in ("wrk", "oha", "hey") if shutil.which(name)), None)


def run(tool: str, port: int, load: Load, core: int | None) -> Result:
    """Raises RuntimeError when the tool says nothing usable."""
    url = f"http://127.0.0.1:{port}{load.path}"
    command = {"wrk": _wrk, "oha": _oha, "hey": _hey}[tool](url, load)
    done = subprocess.run(
        pinned(command, core),
        capture_output=True,
        text=True,
        timeout=load.seconds + 30,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{tool}: {done.stderr.strip() or done.stdout.strip()}")
    read = {"wrk": _read_wrk, "oha": _read_oha, "hey": _read_hey}[tool]
    return replace(read(done.stdout), seconds=load.seconds)


def _wrk(url: str, load: Load) -> list[str]:
    pause_ms = round(CONNECTIONS * 1000 / load.rate) if load.rate else 0
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{load.seconds}s", "--latency", "-s", str(_LUA)]
    return ["wrk", *options, url, "--", str(load.routes), str(pause_ms)]


def _read_wrk(text: str) -> Result:
    failed = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
    failed += sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    rps = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rps is None:
        raise RuntimeError(f"wrk: {text}")

    def percentile(share: str) -> float:
        found = re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
        return float(found[1]) * _UNITS[found[2]] if found else float("nan")

    return Result(float(rps[1]), 0, percentile("50"), percentile("99"), failed)


def _oha(url: str, load: Load) -> list[str]:
    options = ["-z", f"{load.seconds}s", "-c", str(CONNECTIONS), "--no-tui", "--output-format=json"]
    options += [word for line in HEADERS for word in ("-H", line)]
    return ["oha", *options, *(["-q", str(load.rate)] if load.rate else []), url]


def _read_oha(text: str) -> Result:
    report = json.loads(text)
    statuses, errors = report["statusCodeDistribution"], report["errorDistribution"]
    bad = sum(n for status, n in statuses.items() if not 200 <= int(status) < 400)
    bad += sum(n for reason, n in errors.items() if "deadline" not in reason)
    latency = report["latencyPercentiles"]
    rps = report["summary"]["requestsPerSec"]
    return Result(rps, 0, latency["p50"] * 1e3, latency["p99"] * 1e3, bad)


def _hey(url: str, load: Load) -> list[str]:
    options = ["-z", f"{load.seconds}s", "-c", str(CONNECTIONS)]
    options += [word for line in HEADERS for word in ("-H", line)]
    return ["hey", *options, *(["-q", str(load.rate / CONNECTIONS)] if load.rate else []), url]


def _read_hey(text: str) -> Result:
    rps = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rps is None:
        raise RuntimeError(f"hey: {text}")

    def percentile(share: str) -> float:
        found = re.search(rf"{share}%+ in ([\d.]+) secs", text)
        return float(found[1]) * 1e3 if found else float("nan")

    statuses = re.findall(r"\[(\d+)\]\s+(\d+)", text)
    bad = sum(int(count) for status, count in statuses if not 200 <= int(status) < 400)
    return Result(float(rps[1]), 0, percentile("50"), percentile("99"), bad)
