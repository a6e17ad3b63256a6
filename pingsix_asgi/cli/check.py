"""``pingsix-asgi check``: judge a configuration without running it."""

from __future__ import annotations

import argparse
import asyncio
import sys

from ..app import PingSIX
from ..config.open import open_config
from ..errors import InvalidConfig
from . import logs


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "check",
        help="judge a configuration",
        description="Name everything that is wrong with a configuration; exit 1 if anything is.",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="default: the environment")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check; returns 0. Raises ConfigError with every problem, one line each."""
    logs.set_up("error")
    gateway = PingSIX(config=open_config(arguments.config, is_process=True))
    errors = asyncio.run(gateway.check())
    if errors:
        raise InvalidConfig(errors)
    sys.stdout.write(f"{arguments.config or 'environment'}: the configuration is valid\n")
    return 0
