"""``python -m benchmarks``: see ``scripts/bench``."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from . import load, report
from .cases import CASES, Case
from .measure import Options, Run

MEASURES = ("throughput", "latency", "bodies", "plugins")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=report.__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all values there")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="cases whose name holds NAME; repeatable"
    )
    parser.add_argument("--seconds", type=int, default=3, help="of load per case and round")
    parser.add_argument("--rounds", type=int, default=3, help="medians are taken over them")
    parser.add_argument(
        "--measure", action="append", choices=MEASURES, help="default: all; repeatable"
    )
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    return parser.parse_args(argv)


def selected(only: list[str] | None) -> list[Case]:
    """Return the cases called so; where none is, those whose name holds one of the words."""
    if not only:
        return list(CASES)
    exact = [case for case in CASES if case.name in only]
    return exact or [case for case in CASES if any(name in case.name for name in only)]


def main() -> int:
    options = arguments()
    cases = selected(options.only)
    if options.list or not cases:
        print("\n".join(case.name for case in cases or CASES))
        return 0 if cases else 2
    tool = load.find_tool()
    if tool is None or shutil.which("nginx") is None:
        print("scripts/bench needs nginx, and one of wrk, oha and hey, on PATH", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended too
    measures = frozenset(options.measure or MEASURES)
    settings = Options(tool, options.seconds, options.rounds, measures)
    run = Run(settings, lambda line: print(line, file=sys.stderr, flush=True))
    results = run.measure(cases)
    print(report.tables(cases, results))
    if options.json:
        about = {
            "tool": tool,
            "connections": load.CONNECTIONS,
            "seconds": options.seconds,
            "rounds": options.rounds,
            "pinned": asdict(run.cores),
        }
        options.json.write_text(json.dumps(report.as_json(results, about), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
