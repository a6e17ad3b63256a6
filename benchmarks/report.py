"""Tables of what was measured, and the budgets it is held against."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .cases import Case
from .measure import FIXED_RATE, NO_PLUGIN, PLUGIN_ROUTES, Samples

Results = dict[str, Samples]
PACKAGES = ("uvicorn", "granian", "uvloop", "httptools", "aiohttp", "httpx2", "fastapi", "zttp")


@dataclass(frozen=True)
class Budget:
    """``measure`` of ``case``, divided by that of ``against`` when given."""

    text: str
    case: str
    against: str
    target: float
    measure: str = "rps"
    at_most: bool = False

    def found(self, results: Results) -> float | None:
        value = _median(results, self.case, self.measure)
        if value is None or not self.against:
            return value
        other = _median(results, self.against, self.measure)
        return value / other if other else None

    def holds(self, found: float) -> bool:
        return found <= self.target if self.at_most else found >= self.target


def _per_server(server: str) -> tuple[Budget, ...]:
    bare, ours = f"bare pool ({server})", f"pingsix ({server})"
    five, ten = f"pingsix, 5 plugins ({server})", f"pingsix, 10 routes ({server})"
    many = f"pingsix, 10000 routes ({server})"
    return (
        Budget(f"no plugin keeps 85 % of the bare pool ({server})", ours, bare, 0.85),
        Budget(f"five plugins keep 70 % of the bare pool ({server})", five, bare, 0.70),
        Budget(f"10 000 routes within 5 % of 10 ({server})", many, ten, 0.95),
        Budget(f"100 MB down adds at most 8 MB ({server})", ours, "", 8, "down_growth_mb", True),
        Budget(f"100 MB up adds at most 8 MB ({server})", ours, "", 8, "up_growth_mb", True),
    )


BUDGETS = (
    *_per_server("granian"),
    *_per_server("uvicorn"),
    Budget(
        "in-process, five plugins keep 80 % of bare FastAPI",
        "fastapi in pingsix, 5 plugins (uvicorn)",
        "fastapi (uvicorn)",
        0.80,
    ),
    Budget(
        "in-process, at least twice the five middlewares",
        "fastapi in pingsix, 5 plugins (uvicorn)",
        "fastapi, 5 middlewares (uvicorn)",
        2.0,
    ),
    *(
        Budget(
            f"{name} adds at most 8 % of a request without", name, "", 1.08, "plugin_ratio", True
        )
        for name in PLUGIN_ROUTES[1:]
        if name != "echo"  # it changes bodies
    ),
)


def tables(cases: list[Case], results: Results) -> str:
    """Return the whole report as Markdown."""
    parts = [_throughput(cases, results), _in_process(cases, results), _latency(cases, results)]
    parts += [_bodies(cases, results), _plugins(results), _budgets(results), _failures(results)]
    return "\n\n".join(part for part in parts if part)


def as_json(results: Results, options: dict[str, Any]) -> dict[str, Any]:
    """Return everything measured, round by round, with what it was measured on."""
    return {
        "machine": machine(),
        "options": options,
        "cases": {
            name: {"failure": samples.failure, "values": dict(samples.values)}
            for name, samples in results.items()
        },
        "budgets": [
            {"text": budget.text, "target": budget.target, "found": found, "holds": holds}
            for budget, found, holds in _judged(results)
        ],
    }


def machine() -> dict[str, Any]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")


def _median(results: Results, name: str, measure: str) -> float | None:
    return results[name].median(measure) if name in results else None


def _ratio(results: Results, name: str, other: str) -> str:
    value, base = _median(results, name, "rps"), _median(results, other, "rps")
    return f"{value / base:.2f}" if value and base else "-"


def _number(value: float | None, form: str = ",.0f") -> str:
    return "-" if value is None else format(value, form).replace(",", " ")


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: list[str] | tuple[str, ...]) -> str:
        first, *others = cells
        padded = [first.ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(heads), line(rule), *map(line, rows)])


def _rows(
    cases: list[Case], results: Results, measure: str, row: Callable[[str, Samples], list[str]]
) -> list[list[str]]:
    found = ((case.name, results[case.name]) for case in cases)
    return [[name, *row(name, samples)] for name, samples in found if samples.values.get(measure)]


def _spread(samples: Samples) -> str:
    values = samples.values["rps"]
    middle = samples.median("rps") or 1.0
    return f"±{(max(values) - min(values)) / 2 / middle:.0%}"


def _throughput(cases: list[Case], results: Results) -> str:
    def row(name: str, samples: Samples) -> list[str]:
        server = name[name.find("(") :] if "(" in name else ""
        return [
            _number(samples.median("rps")),
            _spread(samples),
            _ratio(results, name, "nginx"),
            _ratio(results, name, f"bare pool {server}"),
            _number(samples.median("cpu_us"), ".1f"),
            _number(samples.median("full_p99_ms"), ".1f"),
            _number(samples.median("errors")),
            _number(samples.median("idle_mb")),
            _number(samples.median("start_s"), ".2f"),
        ]

    heads = ("proxy", "requests/s", "spread", "of nginx", "of bare pool", "CPU µs", "p99 ms")
    proxies = [case for case in cases if case.kind == "proxy"]
    return _table((*heads, "errors", "idle MB", "start s"), _rows(proxies, results, "rps", row))


def _in_process(cases: list[Case], results: Results) -> str:
    def row(name: str, samples: Samples) -> list[str]:
        return [
            _number(samples.median("rps")),
            _spread(samples),
            _ratio(results, name, "fastapi (uvicorn)"),
            _number(samples.median("cpu_us"), ".1f"),
            _number(samples.median("errors")),
            _number(samples.median("idle_mb")),
            _number(samples.median("start_s"), ".2f"),
        ]

    heads = ("in-process", "requests/s", "spread", "of bare", "CPU µs", "errors", "idle MB")
    inside = [case for case in cases if case.kind == "in-process"]
    return _table((*heads, "start s"), _rows(inside, results, "rps", row))


def _latency(cases: list[Case], results: Results) -> str:
    def row(_: str, samples: Samples) -> list[str]:
        return [
            _number(samples.median("fixed_rps")),
            _number(samples.median("p50_ms"), ".2f"),
            _number(samples.median("p99_ms"), ".2f"),
        ]

    heads = (f"at a load of {FIXED_RATE}/s", "reached", "p50 ms", "p99 ms")
    return _table(heads, _rows(cases, results, "p50_ms", row))


def _bodies(cases: list[Case], results: Results) -> str:
    def row(_: str, samples: Samples) -> list[str]:
        return [
            _number(samples.median("down_mb_s")),
            _number(samples.median("down_growth_mb"), ".1f"),
            _number(samples.median("up_mb_s")),
            _number(samples.median("up_growth_mb"), ".1f"),
        ]

    heads = ("100 MB body", "down MB/s", "added MB", "up MB/s", "added MB ")
    return _table(heads, _rows(cases, results, "down_mb_s", row))


def _plugins(results: Results) -> str:
    rows = []
    for name in PLUGIN_ROUTES:
        cpu_us = _median(results, name, "plugin_cpu_us")
        if cpu_us is not None:
            ratio = _median(results, name, "plugin_ratio") or 1.0
            base_us = _median(results, NO_PLUGIN, "plugin_cpu_us") or 0.0
            rows.append([name, f"{cpu_us:.1f}", f"{(ratio - 1) * base_us:.1f}", f"{ratio:.3f}"])
    return _table(("one plugin", "CPU µs", "added µs", "of none"), rows)


def _judged(results: Results) -> list[tuple[Budget, float, bool]]:
    found = ((budget, budget.found(results)) for budget in BUDGETS)
    return [(budget, value, budget.holds(value)) for budget, value in found if value is not None]


def _budgets(results: Results) -> str:
    rows = [
        [budget.text, f"{budget.target:g}", f"{found:.2f}", "yes" if holds else "NO"]
        for budget, found, holds in _judged(results)
    ]
    return _table(("budget", "target", "found", "held"), rows)


def _failures(results: Results) -> str:
    lines = [f"- {name}: {s.failure}" for name, s in results.items() if s.failure]
    return "\n".join(["Not measured:", *lines]) if lines else ""
