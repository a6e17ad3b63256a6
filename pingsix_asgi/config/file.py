"""The configuration in a file, watched for changes.

A change is seen when the file behind the path is another one or was written: Kubernetes swaps a
directory symlink, editors rename a new file into place. One that is written in place is read once
two looks in a row found it the same. A change with anything wrong in it is not published at all,
nor is a file that became empty; what is wrong is logged, and what was in force stays.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from ..clock import SystemClock
from ..errors import ConfigError, InvalidConfig, SchemaError, SourceError
from ..model.resources import Resources
from ..types import JSON
from .collector import Collector
from .document import Document, read_document
from .documents import is_same
from .source import Publish
from .yaml_text import read_text

logger = logging.getLogger("pingsix_asgi.config.file")

POLL_S = 0.3
"""Time between two looks at the file."""
Stamp: TypeAlias = tuple[str, int, int, int] | None
"""Real path, modification time (ns), inode and size; None while there is no file."""


def read_file(path: Path, environ: Mapping[str, str], *, may_be_empty: bool = True) -> Document:
    """Read a configuration file. Raises SourceError, or InvalidConfig with every problem."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(f"cannot read configuration file {path}: {reason}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"configuration file {path} is not UTF-8: {error.reason}") from error
    try:
        found = read_text(text, environ)
        if found is None and not may_be_empty:
            raise SourceError("it is empty now; write {} to remove everything")
        return read_document(found)
    except SourceError as error:
        raise SourceError(f"configuration file {path}: {error}") from None
    except SchemaError as error:
        raise InvalidConfig([SchemaError(error.message, kind="configuration")]) from None


class FileSource:
    """A YAML or JSON file. ``poll_s``: seconds between two looks at it."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        environ: Mapping[str, str] = os.environ,
        poll_s: float = POLL_S,
    ) -> None:
        self.path = Path(path)
        self._environ = environ
        self._poll_s = poll_s
        self._stamp: Stamp = None
        self._document: Document | None = None
        self._fresh = 0
        """How many documents of the last reading are new or other ones than before it."""
        self._collector = Collector(SystemClock())
        self.revision = 0
        """How often the file was read with success."""

    @property
    def document(self) -> Document:
        """Return the settings and resources as last read, reading the file now if need be.

        Raises ConfigError.
        """
        if self._document is None:
            self._read()
        assert self._document is not None  # noqa: S101 - _read sets it or raises
        return self._document

    async def load(self) -> tuple[Resources, int]:
        """Return the resources of the file as last read. Raises ConfigError."""
        if self._document is None:
            await asyncio.to_thread(self._read)
        assert self._document is not None  # noqa: S101 - _read sets it or raises
        return self._document.resources, self.revision

    async def run(self, publish: Publish) -> None:
        """Publish the file, then every change of it that has no fault, until cancelled."""
        resources, revision = await self.load()
        with self._collector.resting(self._fresh):
            _report(self.path, await publish(resources, revision, partial=False))
        seen = self._stamp
        while True:
            await asyncio.sleep(self._poll_s)
            seen, before = _stamp(self.path), seen
            if seen == self._stamp or seen != before:  # nothing new, or still being written
                continue
            try:
                await self._reload(publish)
            except Exception:  # the root of a background task: nothing may end it
                logger.exception("reloading %s failed: the configuration stays", self.path)

    async def follow_settings(self) -> None:
        """Tell when settings change, until cancelled: for a file whose resources are not used."""
        while True:
            await asyncio.sleep(self._poll_s)
            if _stamp(self.path) == self._stamp:
                continue
            before = self._document
            try:
                await asyncio.to_thread(self._read)
            except ConfigError as error:
                logger.error("%s: %s", self.path, error)
                continue
            self._tell_settings(before)

    def _tell_settings(self, before: Document | None) -> None:
        after = self._document
        if before is not None and after is not None and before.settings != after.settings:
            logger.warning("%s: changed settings take effect after a restart", self.path)

    async def _reload(self, publish: Publish) -> None:
        before = self._document
        try:
            await asyncio.to_thread(self._read, is_reload=True)
        except InvalidConfig as error:
            _report(self.path, error.errors)
            return
        except ConfigError as error:
            logger.error("%s: the configuration stays as it was", error)
            return
        document = self._document
        if document is None or before is None or document is before:
            return
        self._tell_settings(before)
        with self._collector.resting(self._fresh):
            errors = await publish(document.resources, self.revision, partial=False)
        if errors:
            _report(self.path, errors)
        else:
            logger.info("%s: reloaded as revision %d", self.path, self.revision)

    def _read(self, *, is_reload: bool = False) -> None:
        # the stamp first: a write while we read is seen as one more change
        self._stamp = _stamp(self.path)
        with self._collector.resting(1):
            found = read_file(self.path, self._environ, may_be_empty=not is_reload)
            if is_reload and _stamp(self.path) != self._stamp:
                return
            before = self._document.resources if self._document is not None else {}
            resources, self._fresh = _keep_unchanged(before, found.resources)
            self._document = replace(found, resources=resources)
        self.revision += 1


def _keep_unchanged(before: Resources, found: Resources) -> tuple[Resources, int]:
    """Let documents that did not change be the same objects as before, and count the others.

    The build knows them by that, and neither compares nor compiles them on the event loop.
    """
    kept: dict[str, dict[str, JSON]] = {}
    fresh = 0
    for kind, documents in found.items():
        known = before.get(kind, {})
        filed = kept[kind] = {}
        for id, document in documents.items():
            if id in known and is_same(known[id], document):
                filed[id] = known[id]
            else:
                filed[id] = document
                fresh += 1
    return kept, fresh


def _stamp(path: Path) -> Stamp:
    try:
        real = os.path.realpath(path)
        status = os.stat(real)
    except OSError:
        return None
    return real, status.st_mtime_ns, status.st_ino, status.st_size


def _report(path: Path, errors: Sequence[SchemaError]) -> None:
    for error in errors:
        logger.error("%s: %s", path, error)
    if errors:
        logger.error("%s has %d errors: the configuration stays as it was", path, len(errors))
