"""The contract of a configuration source: it hands complete sets of documents to ``publish``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..errors import SchemaError
from ..model.resources import Resources


class Publish(Protocol):
    """Puts resources in force (snapshot.publish.Publisher)."""

    async def __call__(
        self, resources: Resources, revision: int, *, partial: bool = True
    ) -> Sequence[SchemaError]:
        """Compile and publish resources of a revision; returns what is wrong with single ones.

        With ``partial`` false nothing is published when anything is wrong.
        """


class Source(Protocol):
    """Where the configuration comes from."""

    async def load(self) -> tuple[Resources, int]:
        """Read everything once, with its revision. Raises ConfigError."""

    async def run(self, publish: Publish) -> None:
        """Publish what is there, then every change, until cancelled."""


class FixedSource:
    """Resources that do not change: from a dict, or from the environment."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def load(self) -> tuple[Resources, int]:
        """Return the resources."""
        return self._resources, 1

    async def run(self, publish: Publish) -> None:
        """Publish once."""
        await publish(self._resources, 1, partial=False)
