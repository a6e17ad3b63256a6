"""Changes to a document: deep merge, replacement of a part, the times of its life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...config.layout import MAX_DEPTH
from ...types import JSON
from .exchange import refused

TIMES: Final = ("create_time", "update_time")


def merged(document: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Merge objects deeply; arrays are replaced, null deletes."""
    result = dict(document)
    for name, value in change.items():
        before = result.get(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = value
    return result


def replaced(document: dict[str, Any], path: tuple[str, ...], value: JSON) -> dict[str, Any]:
    """Put ``value`` at ``path``, making objects on the way; null deletes. Raises Refusal."""
    if len(path) > MAX_DEPTH:
        raise refused(400, "invalid sub-path: nested too deeply")
    result: dict[str, Any] = _replaced(document, path, value, ())
    return result


def _replaced(node: JSON, path: tuple[str, ...], value: JSON, at: tuple[str, ...]) -> Any:
    if not isinstance(node, dict):
        raise refused(400, f"invalid sub-path: /{'/'.join(at)}")
    name, *rest = path
    result = dict(node)
    if rest:
        child = result.get(name)
        below = {} if child is None else child
        result[name] = _replaced(below, tuple(rest), value, (*at, name))
    elif value is None:
        result.pop(name, None)
    else:
        result[name] = value
    return result


def check_times(document: dict[str, Any]) -> None:
    """Refuse times sent by a client: the store keeps them. Raises Refusal."""
    found: list[str] = [name for name in TIMES if name in document]
    upstream, plugins = document.get("upstream"), document.get("plugins")
    if isinstance(upstream, dict):
        found += [f"upstream.{name}" for name in TIMES if name in upstream]
    if isinstance(plugins, dict):
        found += [
            f"plugins.{plugin}.{name}"
            for plugin, conf in plugins.items()
            if isinstance(conf, dict)
            for name in TIMES
            if name in conf
        ]
    if found:
        raise refused(400, f"the property is forbidden:  {' '.join(found)}")


def stamped(
    document: dict[str, Any], before: JSON, now: int, given: Mapping[str, JSON] | None = None
) -> dict[str, Any]:
    """Return the document with its times, which a PATCH may have ``given``."""
    times = before if isinstance(before, dict) else {}
    created = times.get("create_time")
    result = {key: value for key, value in document.items() if key not in TIMES}
    result["create_time"] = created if isinstance(created, int) else now
    result["update_time"] = now
    result.update({name: given[name] for name in TIMES if given and name in given})
    return result
