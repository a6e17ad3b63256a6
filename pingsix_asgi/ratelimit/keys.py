"""Whose request is it: the value a limit-* plugin counts by, and the name it is counted under."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ..context import Context
from ..expr.template import Template
from ..expr.variables import getter, needs_body
from ..plugin.base import Host, PluginConf
from ..shared.table import hash_key

KeyOf: TypeAlias = Callable[[Context], str | None]
"""Gives the value to count by, or None when the request has none."""

MAX_NUMBER = 2**53 - 1
"""The largest number a variable may give: what Lua's and JSON's numbers hold exactly."""


def key_of(kind: str, text: str) -> KeyOf:
    """Compile ``key_type`` and ``key``."""
    match kind:
        case "constant":
            return lambda ctx: text
        case "var_combination":
            template = Template(text)

            def combine(ctx: Context) -> str | None:
                value, resolved = template.resolve(ctx)
                return value if resolved else None

            return combine
        case "head":
            return _variable("http_" + text.lower().replace("-", "_"))
        case "cookie":
            return _variable("cookie_" + text)
    if text == "remote_addr":
        return lambda ctx: ctx.request.client[0]
    return _variable(text)


def key_needs_body(kind: str, text: str) -> bool:
    """Tell whether the value to count by is read from the request body."""
    if kind == "var_combination":
        return Template(text).needs_body
    return kind in ("var", "vars") and needs_body(text)


def numbers_need_body(*values: int | str | None) -> bool:
    """Tell whether one of the numbers of a conf is read from the request body."""
    return any(Template(value).needs_body for value in values if isinstance(value, str))


def _variable(name: str) -> KeyOf:
    read = getter(name)

    def value_of(ctx: Context) -> str | None:
        value = read(ctx)
        return None if value is None or value == "" else str(value)

    return value_of


def counter_prefix(host: Host, conf: PluginConf, group: str | None = None) -> str:
    """Return what every key of this plugin instance starts with.

    It holds the owning resource and a version of the conf: a changed conf starts new counters, a
    change elsewhere in the resource keeps them. Members of a ``group`` share theirs.
    """
    if group is not None:
        return f"{group}:"
    return f"/apisix/{host.owner}:{hash_key(conf.model_dump_json())}:"


class Number:
    """A conf number: fixed, or a template of variables that must give one."""

    def __init__(self, value: int | str) -> None:
        self.fixed = None if isinstance(value, str) else int(value)
        self._template = Template(value if isinstance(value, str) else "")

    def whole(self, ctx: Context, *, least: int = 1) -> int:
        """Return the number for this request.

        Raises ValueError when the variables do not give an integer from ``least`` to 2^53-1.
        """
        if self.fixed is not None:
            return self.fixed
        text = self._template.render(ctx)
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"resolved value is not a number: {text}") from None
        if not (number.is_integer() and least <= number <= MAX_NUMBER):
            raise ValueError(f"resolved value is not an integer in range: {text}")
        return int(number)
