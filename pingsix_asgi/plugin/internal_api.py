"""Handlers that the gateway has for itself and that ``public-api`` lets a route expose."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol, TypeAlias, TypeVar

from ..http.response import Response

T = TypeVar("T")

Handlers: TypeAlias = dict[str, Callable[[], Response]]
"""What answers, by path, e.g. "/apisix/prometheus/metrics"."""


class Keeper(Protocol):
    """The part of a plugin's host, and of the runtime behind it, that keeps the handlers."""

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the object kept under ``key``, made on first use."""


def internal_apis(keeper: Keeper) -> Handlers:
    """Return the handlers of this gateway (``keeper`` is its runtime or a plugin's host)."""
    handlers: Handlers = keeper.keep("internal-apis", dict)
    return handlers
