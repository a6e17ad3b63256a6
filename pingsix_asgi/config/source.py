"""The contract of a configuration source: it hands complete sets of documents to ``publish``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from ..errors import SchemaError
from ..model.resources import Resources

Publish: TypeAlias = Callable[[Resources, int], Awaitable[Sequence[SchemaError]]]
"""Compile and publish resources of a revision; returns what was wrong with single resources."""


class Source(Protocol):
    """Where the configuration comes from."""

    async def load(self) -> tuple[Resources, int]:
        """Read everything once, with its revision. Raises ConfigError."""

    async def run(self, publish: Publish) -> None:
        """Publish what is there, then every change, until cancelled."""
