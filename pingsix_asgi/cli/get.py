"""``pingsix-asgi get``: look at the resources of a store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from ..errors import ConfigError
from .admin_client import ORDER, Documents, add_options, client_of
from .configuration import table, to_json, to_yaml, write_resources

_TELLING = ("uri", "uris", "hosts", "host", "snis", "sni", "nodes", "service_name", "plugins")
"""Fields by which a resource is recognised; the first two that it has are shown."""
_WIDTH = 60


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "get",
        help="look at a store's resources",
        description="Show resources: all, those of a kind, or one.",
    )
    parser.add_argument("kind", nargs="?", metavar="KIND", help=", ".join(ORDER))
    parser.add_argument("id", nargs="?", metavar="ID", help="credentials: consumer/id")
    parser.add_argument("-o", "--output", choices=("json", "yaml"), help="default: a table")
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show; returns 0. Raises ConfigError."""
    kinds = ORDER if arguments.kind is None else (_kind(arguments.kind),)
    asked = ("consumers",) if kinds == ("credentials",) else kinds
    with client_of(arguments) as client:
        found = {kind: ids for kind, ids in client.documents(asked).items() if kind in kinds}
    shown: Any
    if arguments.id is not None:
        document = found[kinds[0]].get(arguments.id)
        if document is None:
            raise ConfigError(f"{kinds[0]}/{arguments.id}: not found")
        (shown,) = next(iter(write_resources({kinds[0]: {arguments.id: document}}).values()))
        write = to_json if arguments.output == "json" else to_yaml
        sys.stdout.write(write(shown))
    elif arguments.output is None:
        sys.stdout.write(table([("KIND", "ID", "NAME", "WHAT"), *_rows(found)]))
    else:
        write = to_json if arguments.output == "json" else to_yaml
        sys.stdout.write(write(write_resources(found)))
    return 0


def _kind(given: str) -> str:
    """Return a kind from its plural or singular. Raises ConfigError."""
    name = given.lower().replace("-", "_")
    for kind in ORDER:
        if name in (kind, kind.removesuffix("s")):
            return kind
    raise ConfigError(f"no such kind: {given}; expected one of {', '.join(ORDER)}")


def _rows(found: Documents) -> Iterator[tuple[str, ...]]:
    for kind, documents in found.items():
        for id, document in documents.items():
            name = str(document.get("name") or document.get("desc") or "")
            yield kind, id, name[:_WIDTH], _what(document)


def _what(document: dict[str, Any]) -> str:
    parts = [_brief(document[field]) for field in _TELLING if document.get(field)]
    text = "  ".join(parts[:2])
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _brief(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ",".join(f"{node.get('host')}:{node.get('port', '')}".rstrip(":") for node in value)
    return ",".join(map(str, value)) if isinstance(value, list | dict) else str(value)
