"""``pingsix-asgi diff``: compare a store with a file."""

from __future__ import annotations

import argparse
import sys

from ..errors import ConfigError
from .admin_client import client_of
from .apply import add_file_options, plan, print_changes

SAME, DIFFERENT, TROUBLE = 0, 1, 2
"""Exit codes, as those of diff(1)."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "diff",
        help="compare a store with a file",
        description="Print what apply would change. Exits 0 if nothing, 1 if something, 2 if it "
        "cannot be told. Secrets that the server does not show count as equal.",
    )
    add_file_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare; returns the exit code."""
    try:
        with client_of(arguments) as client:
            found = plan(client, arguments)
    except ConfigError as error:
        sys.stderr.write("".join(f"pingsix-asgi: {line}\n" for line in str(error).splitlines()))
        return TROUBLE
    found = [change for change in found if change.sign != "="]
    print_changes(found)
    return DIFFERENT if found else SAME
