"""``pingsix-asgi export``: write the resources of a store as a configuration file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..errors import ConfigError
from .admin_client import ORDER, add_options, client_of
from .configuration import to_json, to_yaml, write_resources


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "export",
        help="write a store's resources as a file",
        description="Write every resource of the store as a configuration file. Applying it to the "
        "same store changes nothing. What the server hides is not in it.",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="default: standard output; .json: as JSON"
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export; returns 0. Raises ConfigError."""
    with client_of(arguments) as client:
        sections = write_resources(client.documents(ORDER))
    is_json = str(arguments.output).endswith(".json")
    text = to_json(sections) if is_json else to_yaml(sections)
    if arguments.output is None:
        sys.stdout.write(text)
        return 0
    try:
        _write_private(Path(arguments.output), text)
    except OSError as error:
        raise ConfigError(f"cannot write {arguments.output}: {error}") from error
    return 0


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, for there may be secrets in it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
