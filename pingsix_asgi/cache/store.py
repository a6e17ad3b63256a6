"""Where stored responses live: in memory, or in files that all workers of a machine share.

A response is found by its key and, where the origin sent Vary, by the request headers it names.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from ..http.headers import Headers
from ..types import RawHeaders
from .flights import Flights

logger = logging.getLogger("pingsix_asgi.cache")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of PingSIX's cache, where the gateway's settings give them (``defaults.cache``).

    A host keeps them under ``Bounds``.
    """

    memory_bytes: int = 512 * 1024 * 1024
    object_bytes: int = 1024 * 1024


MAX_VARIANTS = 64
"""Stored variants of one key; the oldest goes first."""

_PAIR, _ENTRY = 130, 600
"""Bytes of memory a pair of strings and an entry take beside their content."""

_ANY_CASE = frozenset(("accept-charset", "accept-encoding", "accept-language"))
"""Request headers in whose values case says nothing."""


@dataclass(slots=True)
class Entry:
    """One stored response."""

    status: int
    headers: RawHeaders
    body: bytes
    stored_at: float
    """Unix time."""
    age: float
    """Seconds it was old when stored."""
    lifetime: float
    """Seconds from its birth for which it is fresh."""
    vary: list[tuple[str, str]] = field(default_factory=list)
    """Request header values that a request must have to get it."""

    def current_age(self, now: float) -> float:
        """Return the age in seconds at ``now`` (RFC 9111 §4.2.3)."""
        return self.age + max(now - self.stored_at, 0.0)

    def matches(self, request: Headers) -> bool:
        """Tell whether the request has the header values this response was made for."""
        return all(_value(request, name) == value for name, value in self.vary)


class Store(Protocol):
    """Keeps entries by key, within a limit of bytes. What fails is logged and nobody else's."""

    flights: Flights
    """The fetches under way for this store."""

    async def find(self, key: str, request: Headers) -> Entry | None:
        """Return the newest entry for the key that the request's headers match."""

    async def save(self, key: str, entry: Entry) -> None:
        """Keep the entry in place of the one for the same header values."""

    async def purge(self, key: str) -> bool:
        """Forget every variant of the key; tells whether there was one."""


class MemoryStore:
    """Least recently used entries of one process, up to ``max_bytes`` of all they hold.

    Keys may be long, and clients choose them: they are kept as digests.
    """

    def __init__(self, max_bytes: int) -> None:
        self.flights = Flights()
        self._max_bytes = max_bytes
        self._used = 0
        self._variants: OrderedDict[bytes, list[Entry]] = OrderedDict()

    async def find(self, key: str, request: Headers) -> Entry | None:
        name = _digest(key).digest()
        variants = self._variants.get(name)
        if variants is None:
            return None
        self._variants.move_to_end(name)
        return next((entry for entry in variants if entry.matches(request)), None)

    async def save(self, key: str, entry: Entry) -> None:
        if _size(entry) > self._max_bytes:
            return
        name = _digest(key).digest()
        kept = _with(entry, self._take(name))
        self._variants[name] = kept
        self._used += sum(map(_size, kept))
        while self._used > self._max_bytes and self._variants:
            self._take(next(iter(self._variants)))

    async def purge(self, key: str) -> bool:
        return bool(self._take(_digest(key).digest()))

    def _take(self, name: bytes) -> list[Entry]:
        variants = self._variants.pop(name, [])
        self._used -= sum(map(_size, variants))
        return variants


class DiskStore:
    """A file per key below ``directory``; written whole and renamed, so no reader sees a part.

    When the files outgrow ``max_bytes`` those not used for longest are removed. The directory must
    be ours: whoever can write there decides what clients get.
    """

    def __init__(self, directory: str, max_bytes: int) -> None:
        self.flights = Flights()
        self._directory = Path(directory)
        self._max_bytes = max_bytes
        self._unchecked = max_bytes
        self._is_checked = False

    async def find(self, key: str, request: Headers) -> Entry | None:
        return await asyncio.to_thread(self._find, self._path(key), request)

    async def save(self, key: str, entry: Entry) -> None:
        await asyncio.to_thread(self._save, self._path(key), entry)

    async def purge(self, key: str) -> bool:
        try:
            self._path(key).unlink()
        except OSError:
            return False
        return True

    def _path(self, key: str) -> Path:
        name = _digest(key).hexdigest()
        return self._directory / name[:2] / name[2:]

    def _find(self, path: Path, request: Headers) -> Entry | None:
        for entry, body in self._read(path):
            if entry.matches(request):
                entry.body = body()
                return entry
        return None

    def _read(self, path: Path) -> Iterator[tuple[Entry, Callable[[], bytes]]]:
        """Yield the entries of a file without bodies, each with a way to read its body."""
        try:
            self._check_directory()
            with path.open("rb") as file:
                os.utime(path)
                while head := file.readline():
                    entry, size = _deserialized(head)
                    start = file.tell()
                    yield entry, partial(file.read, size)
                    file.seek(start + size)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.error("cannot read a stored response: %s", error)

    def _save(self, path: Path, entry: Entry) -> None:
        old = []
        for other, body in self._read(path):
            other.body = body()
            old.append(other)
        data = b"".join(map(_serialized, _with(entry, old)))
        try:
            self._check_directory()
            path.parent.mkdir(exist_ok=True)
            _write(path, data)
        except OSError as error:
            logger.error("cannot store a response: %s", error)
            return
        self._unchecked += len(data)
        if self._unchecked > self._max_bytes // 10:
            self._unchecked = 0
            self._evict()

    def _check_directory(self) -> None:
        """Make the directory. Raises PermissionError when somebody else made it."""
        if self._is_checked:
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and self._directory.stat().st_uid != os.getuid():
            raise PermissionError(f"{self._directory} belongs to another user")
        self._is_checked = True

    def _evict(self) -> None:
        files = [(stat.st_mtime, stat.st_size, path) for path, stat in self._files()]
        used = sum(size for _, size, _ in files)
        for _, size, path in sorted(files, key=lambda file: file[0]):
            if used <= self._max_bytes:
                return
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                logger.error("cannot remove a stored response: %s", error)
            used -= size

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self._directory.glob("??/*"):
            try:
                found.append((path, path.stat()))
            except FileNotFoundError:
                continue
        return found


def vary_of(response: Headers, request: Headers, more: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the request header values that select a response, from its Vary and ``more``."""
    line = (response.combined(b"vary") or b"").decode("latin-1").lower()
    names = {name.strip() for name in line.split(",") if name.strip()}
    names.update(name.lower() for name in more)
    return [(name, _value(request, name)) for name in sorted(names)]


def _value(request: Headers, name: str) -> str:
    """Return a header as compared for Vary: lines joined, white space not significant."""
    value = (request.combined(name.encode("latin-1")) or b"").decode("latin-1")
    if name in _ANY_CASE:
        value = value.lower()
    return ",".join(part.strip() for part in value.split(","))


def _with(entry: Entry, others: list[Entry]) -> list[Entry]:
    """Return the variants of a key, ``entry`` in place of the one for the same header values."""
    return [entry, *(other for other in others if other.vary != entry.vary)][:MAX_VARIANTS]


def _digest(key: str) -> hashlib._Hash:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape"))


def _size(entry: Entry) -> int:
    """Return what an entry takes in memory, near enough."""
    pairs = (*entry.headers, *entry.vary)
    return len(entry.body) + sum(len(name) + len(value) + _PAIR for name, value in pairs) + _ENTRY


def _serialized(entry: Entry) -> bytes:
    fields = asdict(entry)
    del fields["body"]
    fields["headers"] = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in entry.headers]
    return json.dumps({**fields, "size": len(entry.body)}).encode() + b"\n" + entry.body


def _deserialized(head: bytes) -> tuple[Entry, int]:
    """Return an entry without its body, and the size of that."""
    fields = json.loads(head)
    size: int = fields.pop("size")
    headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in fields.pop("headers")]
    vary = [(name, value) for name, value in fields.pop("vary")]
    return Entry(**fields, headers=headers, vary=vary, body=b""), size


def _write(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
