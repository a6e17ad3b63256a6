"""``pingsix-asgi check``: judge a configuration without running it."""

from __future__ import annotations

import argparse
import asyncio
import sys

from ..app import PingSIX
from ..config.document import InvalidDocument
from ..config.open import Opened, open_config
from ..config.source import FixedSource
from ..errors import InvalidConfig, SchemaError
from ..settings import Settings
from . import logs


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "check",
        help="judge a configuration",
        description="Name everything that is wrong with a configuration; exit 1 if anything is. "
        "Warnings, such as options that a plugin does not have, are named and do no harm.",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="default: the environment")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check; returns 0. Raises ConfigError with every problem, one line each."""
    logs.warnings_as_lines()
    try:
        opened = open_config(arguments.config, is_process=True)
        errors = asyncio.run(PingSIX(config=opened).check())
    except InvalidDocument as error:
        errors = _all_of(error)
    if errors:
        raise InvalidConfig(errors)
    sys.stdout.write(f"{arguments.config or 'environment'}: the configuration is valid\n")
    return 0


def _all_of(error: InvalidDocument) -> list[SchemaError]:
    """Return faults of form, and those of plugins and references in what could be read."""
    source = FixedSource(error.resources)
    gateway = PingSIX(config=Opened(Settings.model_construct(), source, "check"))
    found = [*error.errors, *asyncio.run(gateway.check())]
    return list({str(one): one for one in found}.values())
