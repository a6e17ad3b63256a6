"""``pingsix-asgi check``: judge a configuration without running it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator

from ..app import PingSIX
from ..config.document import InvalidDocument
from ..config.open import Opened, open_config
from ..config.source import FixedSource
from ..errors import InvalidConfig, SchemaError
from ..model.resources import check_references
from ..serving.own_certificates import judge_files
from ..settings import Settings
from ..snapshot.check import check_document
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
    opened = opened_or_all_errors(arguments.config)
    raise_all(PingSIX(config=opened))
    sys.stdout.write(f"{arguments.config or 'environment'}: the configuration is valid\n")
    return 0


def opened_or_all_errors(config: str | None) -> Opened:
    """Open a configuration; ``None`` is the environment.

    Raises InvalidConfig for faults of form and settings, and tells with them those of plugins and
    references in what could be read.
    """
    try:
        return open_config(config, is_process=True)
    except InvalidDocument as error:
        source = FixedSource(error.resources)
        gateway = PingSIX(config=Opened(Settings.model_construct(), source, "check"))
        found = [*error.errors, *asyncio.run(gateway.check()), *_in_unfiled(error, gateway)]
        raise InvalidConfig(list({str(one): one for one in found}.values())) from None


def _in_unfiled(error: InvalidDocument, gateway: PingSIX) -> Iterator[SchemaError]:
    for one in error.unfiled:
        subject = one.kind, one.id, one.document
        yield from map(one.told, check_document(*subject, gateway.registry))
        yield from map(one.told, check_references(error.resources, *subject, in_plugins=True))


def raise_all(gateway: PingSIX) -> None:
    """Raise InvalidConfig with what is wrong with resources and with files of the listeners."""
    errors = [*judge_files(gateway.settings), *asyncio.run(gateway.check())]
    if errors:
        raise InvalidConfig(errors)
