"""The way of new resources into force: resolve references, build, publish. One at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ..errors import SchemaError
from ..model.resources import Resources
from ..secrets.references import References
from .build import Builder
from .resolve import Resolved

logger = logging.getLogger("pingsix_asgi.snapshot")


class Publisher:
    """What a configuration source is given to publish with."""

    def __init__(self, builder: Builder, references: References | None = None) -> None:
        self._builder = builder
        self._resolved = Resolved(references or References())
        self._turn = asyncio.Lock()

    async def __call__(
        self, resources: Resources, revision: int, *, partial: bool = True
    ) -> Sequence[SchemaError]:
        """Put resources in force; returns what is wrong with single ones.

        Faulty resources are left out, or stay as they were, and the rest goes live. With
        ``partial`` false nothing is published when anything is wrong.
        """
        async with self._turn:
            resolved = await self._resolved.update(resources)
            snapshot = await self._builder.build_gradually(resolved, revision)
            if snapshot.errors and not partial:
                self._builder.runtime.discard(snapshot)
                return snapshot.errors
            await self._builder.runtime.publish(snapshot)
            self._builder.plans.clear()
            self._log(revision, len(snapshot.changed), snapshot.errors)
            return snapshot.errors

    def _log(self, revision: int, changed: int, errors: Sequence[SchemaError]) -> None:
        logger.info(
            "published revision %d: %d resources compiled, %d faulty",
            revision,
            changed,
            len(errors),
            extra={"revision": revision, "compiled": changed, "faulty": len(errors)},
        )
        for error in errors:
            logger.error("%s", error)
