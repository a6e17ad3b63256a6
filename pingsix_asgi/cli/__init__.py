"""The command line: ``pingsix-asgi run``, ``check`` and what talks to the Admin API.

Exit codes: 0 done, 1 the configuration is wrong, 2 the command line is wrong, 3 it cannot start.
``diff`` has those of diff(1).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import ConfigError
from ..serving.sockets import StartupError
from . import apply as apply
from . import check as check
from . import diff as diff
from . import export as export
from . import get as get
from . import plugins as plugins
from . import run as run

CONFIGURATION_FAILURE = 1
START_UP_FAILURE = 3

_COMMANDS = (run, check, get, apply, diff, export, plugins)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Raises SystemExit for a bad command line."""
    given = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(given, argparse.Namespace(argv=given))
    try:
        code: int = arguments.run(arguments)
        return code
    except ConfigError as error:
        return _fail(error, CONFIGURATION_FAILURE)
    except StartupError as error:
        return _fail(error, START_UP_FAILURE)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pingsix-asgi",
        description="An API gateway for ASGI services, in-process or as a sidecar.",
    )
    parser.add_argument("--version", action="version", version=f"pingsix-asgi {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def _fail(error: Exception, code: int) -> int:
    for line in str(error).splitlines() or [type(error).__name__]:
        sys.stderr.write(f"pingsix-asgi: {line}\n")
    return code
