"""The way of new resources into force: decrypt, resolve, build, publish. One at a time."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Sequence

from ..errors import SchemaError
from ..model.resources import Resources
from ..secrets.references import References, Unresolved
from ..secrets.unseal import Opener, Unsealer
from .build import Builder
from .resolve import Resolved

logger = logging.getLogger("pingsix_asgi.snapshot")


LARGE = 500
"""Resources compiled at once from which on the cycle collector leaves them alone."""


class Publisher:
    """What a configuration source is given to publish with."""

    def __init__(
        self,
        builder: Builder,
        references: References | None = None,
        keyring: Opener | None = None,
    ) -> None:
        """``keyring`` opens what a store keeps encrypted; None: encryption is off."""
        self._builder = builder
        unsealer = Unsealer(keyring, builder.registry)
        self._resolved = Resolved(references or References(), unsealer)
        self._given: Resources = {}
        self._in_force: Resources = {}
        """The resources in force: as they were given, and as they were built."""
        self._turn = asyncio.Lock()

    async def __call__(
        self, resources: Resources, revision: int, *, partial: bool = True
    ) -> Sequence[SchemaError]:
        """Put resources in force; returns what is wrong with single ones.

        Faulty resources are left out, or stay as they were, and the rest goes live. With
        ``partial`` false nothing is published when anything is wrong; secrets that cannot be
        fetched now do not count.
        """
        async with self._turn:
            resolved = await self._resolved.update(resources)
            return await self._put_in_force(resolved, resources, revision, partial)

    async def refresh(self) -> tuple[int, Sequence[SchemaError]] | None:
        """Ask for secrets that are kept elsewhere, as far as answers are old.

        When one is another now, publish what is in force with it; returns the revision and what is
        wrong. None when nothing changed.
        """
        async with self._turn:
            if not self._resolved.has_references:
                return None
            resolved = await self._resolved.update(self._given)
            kinds = resolved.keys() | self._in_force.keys()
            if all(resolved.get(kind) is self._in_force.get(kind) for kind in kinds):
                return None
            revision = self._builder.runtime.snapshot.revision
            return revision, await self._put_in_force(resolved, self._given, revision, True)

    async def _put_in_force(
        self, resolved: Resources, given: Resources, revision: int, partial: bool
    ) -> Sequence[SchemaError]:
        errors: list[SchemaError] = list(self._resolved.errors)
        if errors and not partial:
            return errors
        snapshot = await self._builder.build_gradually(resolved, revision)
        errors += snapshot.errors
        wrong = [error for error in errors if partial or not isinstance(error, Unresolved)]
        if wrong and not partial:
            self._builder.runtime.discard(snapshot)
            return wrong
        await self._builder.runtime.publish(snapshot)
        if len(snapshot.changed) >= LARGE:
            leave_to_refcounts()
        self._builder.plans.clear()
        self._given, self._in_force = given, resolved
        self._log(revision, len(snapshot.changed), errors)
        return wrong

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


def leave_to_refcounts() -> None:
    """Take what a large configuration is made of out of the collector's sight.

    It has no cycles to find, and a full collection of 10 000 routes holds requests up for some
    100 ms. A source that rests the collector while it loads (config/collector.py) sees to it
    itself: here all that was loaded would be young, and looking through it the very stall to avoid.
    """
    if not gc.isenabled():
        return
    gc.collect(1)  # what is young and in cycles must not be kept for ever
    gc.freeze()
