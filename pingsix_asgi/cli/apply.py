"""``pingsix-asgi apply``: make a store equal to a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..errors import ConfigError
from ..plugin.registry import Registry
from .admin_client import ORDER, AdminClient, AdminError, add_options, client_of
from .configuration import read_resources
from .difference import Change, changes
from .judge import judge

_REFUSALS = (400, 404, 409)
_CLASHES = (
    (("consumers", "credentials"), "duplicate key found with consumer: "),
    (("global_rules",), "already exists in global rule with id "),
)
"""How the Admin API names what holds a name that must not be there twice."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "apply",
        help="make a store equal to a file",
        description="Create, update and delete resources through the Admin API until those of the "
        "kinds the file has sections for are what the file says. Prints what was changed. Nothing "
        "is changed when anything in the file is invalid.",
    )
    add_file_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="print it, change nothing")
    parser.add_argument(
        "--rewrite", action="store_true", help="write what is equal, too: encrypts it anew"
    )
    parser.set_defaults(run=run)


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``apply`` and ``diff`` share."""
    parser.add_argument("-f", "--file", required=True, metavar="FILE", help="YAML or JSON")
    parser.add_argument("--no-prune", action="store_true", help="delete nothing")
    parser.add_argument(
        "--prune-all", action="store_true", help="delete all of kinds without a section, too"
    )
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Apply; returns 0. Raises ConfigError with every resource that was refused."""
    with client_of(arguments) as client:
        found = plan(client, arguments, rewrite=arguments.rewrite)
        if arguments.dry_run:
            print_changes(found)
        elif found:
            _carry_out(client, found)
        else:
            sys.stdout.write("nothing to do\n")
    return 0


def plan(
    client: AdminClient, arguments: argparse.Namespace, *, rewrite: bool = False
) -> list[Change]:
    """Return what is to be done. Raises ConfigError, InvalidConfig for faults of the file."""
    wanted, sections = read_resources(arguments.file)
    if arguments.prune_all:
        sections = set(ORDER)
        wanted = {kind: wanted.get(kind, {}) for kind in ORDER}
    current = client.documents([kind for kind in ORDER if kind in sections])
    judge(client, current, wanted, is_pruned=not arguments.no_prune)
    found = changes(current, wanted, rewrite=rewrite)
    if arguments.no_prune:
        found = [change for change in found if change.sign != "-"]
    gone = {change.id for change in found if change.sign == "-" and change.kind == "consumers"}
    return [change for change in found if not _goes_along(change, gone)]


def print_changes(found: Sequence[Change]) -> None:
    """Print changes, secrets hidden."""
    registry = Registry()
    for change in found:
        for line in change.lines(registry):
            sys.stdout.write(f"{line}\n")


def _goes_along(change: Change, consumers: set[str]) -> bool:
    """Tell whether a deletion happens by itself: credentials go with their consumer."""
    is_deletion = change.sign == "-" and change.kind == "credentials"
    return is_deletion and change.id.partition("/")[0] in consumers


def _carry_out(client: AdminClient, found: Sequence[Change]) -> None:
    """Write everything, then delete: as long as a write is refused, nothing is deleted.

    But for a deletion that a refusal asks for: a key or a plugin that moves from a resource that is
    to go is free only when that has let go of it.
    """
    done: list[Change] = []
    refused: list[tuple[Change, AdminError]] = []
    writes = [change for change in found if change.sign != "-"]
    deletions = [change for change in found if change.sign == "-"]
    try:
        refused = _try_all(client, writes, done)
        while refused and (holders := _holders(refused, deletions, done)):
            if _try_all(client, holders, done):
                break
            refused = _try_all(client, [change for change, _ in refused], done)
        if not refused:
            refused = _try_all(client, [one for one in deletions if one not in done], done)
    finally:
        _sum_up(found, done, refused)
    if refused:
        lines = [f"{change.kind}/{change.id}: {error}" for change, error in refused]
        raise ConfigError("\n".join(lines))


def _try_all(
    client: AdminClient, changes: Sequence[Change], done: list[Change]
) -> list[tuple[Change, AdminError]]:
    """Do what is not refused, again and again as long as anything succeeds; return the rest."""
    left = list(changes)
    while left:
        refused: list[tuple[Change, AdminError]] = []
        for change in left:
            try:
                _do(client, change)
            except AdminError as error:
                if error.status not in _REFUSALS:
                    raise
                refused.append((change, error))
            else:
                done.append(change)
                print_changes([change])
        if len(refused) == len(left):
            return refused
        left = [change for change, _ in refused]
    return []


def _holders(
    refused: Sequence[tuple[Change, AdminError]],
    deletions: Sequence[Change],
    done: Sequence[Change],
) -> list[Change]:
    """Return the deletions of what refusals name as holding a key or plugin."""
    return [
        deletion
        for deletion in deletions
        if deletion not in done
        and any(
            change.kind in kinds
            and f"{error}".endswith((words + deletion.id, f"{words}'{deletion.id}'"))
            for change, error in refused
            for kinds, words in _CLASHES
            if deletion.kind in kinds
        )
    ]


def _sum_up(
    found: Sequence[Change], done: Sequence[Change], refused: Sequence[tuple[Change, AdminError]]
) -> None:
    counts = [sum(change.sign in signs for change in done) for signs in ("+", "~=", "-")]
    line = "{} created, {} updated, {} deleted".format(*counts)
    if refused:
        line += f", {len(refused)} refused"
    if left := len(found) - len(done) - len(refused):
        line += f", {left} not tried"
    sys.stdout.write(f"{line}\n")


def _do(client: AdminClient, change: Change) -> None:
    if change.wanted is None:
        client.delete(change.kind, change.id)
    else:
        client.put(change.kind, change.id, change.wanted)
