"""Consoles of the docs: commands and what they print, run and compared."""

from __future__ import annotations

import re
import subprocess
import time


def parse(console: str) -> list[tuple[str, str]]:
    """Return the commands of a console and what they print; indented lines continue a command."""
    steps: list[list[str]] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            steps.append([line[2:], ""])
        elif line.startswith("  ") and not steps[-1][1]:
            steps[-1][0] += f"\n{line}"
        else:
            steps[-1][1] += f"{line}\n"
    return [(command, printed) for command, printed in steps]


def shown(command: str, environment: dict[str, str], expected: str) -> str:
    """Run a command until it prints what is expected: a gateway takes some milliseconds to know."""
    deadline = time.monotonic() + 10
    while True:
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=20
        )
        printed = without_times(done.stdout.replace("\r", ""))
        if printed == without_times(expected) or time.monotonic() > deadline or "-X" in command:
            return printed
        time.sleep(0.05)


def without_times(text: str) -> str:
    return re.sub(r"(_time\":|reset: )[\d.]+", r"\1T", text).strip()
