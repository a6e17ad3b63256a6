"""What stands in for a plugin that cannot judge requests now: it refuses them."""

from __future__ import annotations

from typing import Final

from ..context import Context
from ..http.response import error_page
from .base import Plugin, Reply

_REFUSAL: Final = error_page(503)


class _Locked(Plugin):
    """Answer 503, in the first phase where the plugin may be asked.

    A consumer's plugin of a name that the route has too is asked in ``access`` only.
    """

    def rewrite(self, ctx: Context) -> Reply:
        return _REFUSAL

    def access(self, ctx: Context) -> Reply:
        return _REFUSAL


def locked(plugin: type[Plugin]) -> Plugin:
    """Return what takes the place of ``plugin``, with its name and its turn."""
    kept = ("name", "priority", "kind", "run_policy")
    made: type[_Locked] = type("Locked", (_Locked,), {name: getattr(plugin, name) for name in kept})
    return made(None)
