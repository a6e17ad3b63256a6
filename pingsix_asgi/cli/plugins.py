"""``pingsix-asgi plugins``: what plugins there are, and their options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..errors import ConfigError, ReferenceMissing
from ..plugin.base import Plugin, PluginConf
from ..plugin.describe import options, phases
from ..plugin.registry import Registry
from .configuration import table, to_json

_KINDS = {"options": "Conf", "consumer": "ConsumerConf", "metadata": "Metadata"}
"""Where options are given: on a route, in a consumer, in plugin_metadata."""
_TITLES = {
    "options": "\n",
    "consumer": "\nin a consumer or credential:\n",
    "metadata": "\nin plugin_metadata:\n",
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "plugins",
        help="list plugins and their options",
        description="List the plugins that are installed here, or the options of one.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("-o", "--output", choices=("json",), help="default: a table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List; returns 0. Raises ConfigError for a plugin there is not."""
    registry = Registry()
    if arguments.name is None:
        found = [_describe(registry.find(name)) for name in registry.names()]
        sys.stdout.write(to_json(found) if arguments.output else table(_list(found)))
        return 0
    try:
        plugin = registry.find(arguments.name)
    except ReferenceMissing as error:
        raise ConfigError(error.message) from None
    described = _describe(plugin)
    sys.stdout.write(to_json(described) if arguments.output else _page(described))
    return 0


def _describe(plugin: type[Plugin]) -> dict[str, Any]:
    summary = (plugin.__doc__ or "").strip().partition("\n")[0]
    found: dict[str, Any] = {
        "name": plugin.name,
        "priority": plugin.priority,
        "phases": phases(plugin),
        "summary": summary,
    }
    for where, attribute in _KINDS.items():
        conf: type[PluginConf] | None = getattr(plugin, attribute)
        if conf is not None:
            found[where] = [asdict(option) for option in options(conf)]
    return found


def _list(found: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield "NAME", "PRIORITY", "PHASES"
    for one in found:
        yield one["name"], str(one["priority"]), ", ".join(one["phases"])


def _page(found: dict[str, Any]) -> str:
    text = f"{found['name']}: {found['summary']}\n"
    text += f"priority {found['priority']}, phases {', '.join(found['phases'])}\n"
    for where in _KINDS:
        if not found.get(where):
            continue
        rows = [
            (o["name"], o["type"].replace("`", ""), o["default"], o["limits"].replace("`", ""))
            for o in found[where]
        ]
        text += _TITLES[where]
        text += table([("OPTION", "TYPE", "DEFAULT", "LIMITS"), *rows])
    return text
