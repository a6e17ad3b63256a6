"""Values kept elsewhere: ``$env://NAME``, ``$env://NAME/json_key``, ``$secret://vault/1/path/key``.

References are resolved before a configuration is compiled, never on the request path. One that
cannot be resolved keeps the value it had; without one it stays as text, and is logged. The text of
a reference is never accepted as a key: a credential that is still one is disabled by the consumer
index, and a plugin that needs one is locked (unresolved.py).
Source: APISIX apisix/secret.lua (forms, cache times).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from cachetools import LRUCache, TTLCache

from ..clock import Clock, SystemClock
from ..errors import SchemaError, SourceError
from ..model.fields import is_reference
from ..types import JSON

logger = logging.getLogger("pingsix_asgi.secrets")

FOUND_S, MISSING_S = 300.0, 60.0
"""How long an answer of a secret manager is reused: a value, and a failure."""
_CACHED = 4096
_ASKED_AT_ONCE = 16


class Unresolved(SchemaError):
    """A resource is switched off because a secret it refers to is not known.

    Not a fault of the configuration: it heals when the secret can be fetched.
    """


class Unreachable(SourceError):
    """A secret manager does not answer at all: there is no use in asking it for more."""


class SecretManager(Protocol):
    """A service that keeps secrets, configured by one ``secrets/{manager}/{id}`` resource."""

    async def fetch(self, path: str) -> str:
        """Return the secret called ``path``. Raises SourceError."""


class References:
    """Resolve the references of documents, with a bounded cache of what managers answered."""

    def __init__(self, environ: Mapping[str, str] = os.environ, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self._environ = environ
        self._found: TTLCache[str, str] = TTLCache(_CACHED, FOUND_S, clock.monotonic)
        self._missing: TTLCache[str, bool] = TTLCache(_CACHED, MISSING_S, clock.monotonic)
        self._last: LRUCache[str, str] = LRUCache(_CACHED)

    async def fetch(self, references: Iterable[str], managers: Mapping[str, SecretManager]) -> None:
        """Ask the managers for what is not known, or too old; ``resolve`` then has it.

        ``managers`` are keyed "vault/1" as in the reference.
        """
        wanted = [
            reference
            for reference in dict.fromkeys(references)
            if reference not in self._found
            and reference not in self._missing
            and not is_variable(reference)
        ]
        down: set[str] = set()
        turn = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def one(reference: str) -> None:
            async with turn:
                await self._fetch(reference, managers, down)

        await asyncio.gather(*map(one, wanted))

    async def resolve(self, document: JSON, managers: Mapping[str, SecretManager]) -> JSON:
        """Return the document with every reference that can be resolved replaced by its value.

        The document itself is returned when it holds none.
        """
        references = list(dict.fromkeys(find_references(document)))
        await self.fetch(references, managers)
        values = self._values(references)
        return _replaced(document, values) if values else document

    def with_variables(self, document: JSON) -> JSON:
        """Return the document with references to the environment replaced, as far as they are set.

        The document itself is returned when it holds none.
        """
        found = [reference for reference in find_references(document) if is_variable(reference)]
        return _replaced(document, self._values(found)) if found else document

    def _values(self, references: Iterable[str]) -> dict[str, str]:
        return {
            reference: value
            for reference in references
            if (value := self._value(reference)) is not None
        }

    def _value(self, reference: str) -> str | None:
        if not is_variable(reference):
            return self._found.get(reference, self._last.get(reference))
        value = self._from_environment(reference.partition("://")[2])
        if value is None and reference not in self._missing:
            self._missing[reference] = True
            logger.warning("cannot resolve %s: no such variable or member", reference)
        return value

    async def _fetch(
        self, reference: str, managers: Mapping[str, SecretManager], down: set[str]
    ) -> None:
        rest = reference.partition("://")[2]
        parts = rest.split("/", 2)
        name = "/".join(parts[:2])
        manager = managers.get(name) if len(parts) == 3 else None
        try:
            if manager is None:
                raise SourceError(f"no secret manager {name}")
            if name in down:
                raise Unreachable(f"{name} did not answer")
            self._found[reference] = self._last[reference] = await manager.fetch(parts[2])
        except Exception as error:  # whatever a manager raises, the others' secrets go live
            if isinstance(error, Unreachable):
                down.add(name)
            kept = ", its last value is kept" if reference in self._last else ""
            why = error if isinstance(error, SourceError) else type(error).__name__
            logger.warning("cannot resolve %s%s: %s", reference, kept, why)
            self._missing[reference] = True

    def _from_environment(self, rest: str) -> str | None:
        name, _, member = rest.partition("/")
        value = self._environ.get(name)
        if value is None or not member:
            return value
        try:
            found = json.loads(value).get(member)
        except (ValueError, AttributeError):
            return None
        return found if isinstance(found, str) else None


def is_variable(reference: str) -> bool:
    """Tell whether a reference names a variable of the environment."""
    return reference[:7].lower() == "$env://"


def find_references(document: JSON) -> Iterator[str]:
    """Yield every reference in a document, in order."""
    if isinstance(document, str):
        if document[:1] == "$" and is_reference(document):
            yield document
    elif isinstance(document, dict):
        for value in document.values():
            yield from find_references(value)
    elif isinstance(document, list):
        for value in document:
            yield from find_references(value)


def _replaced(document: JSON, values: Mapping[str, str]) -> JSON:
    if isinstance(document, str):
        return values.get(document, document)
    if isinstance(document, dict):
        return {key: _replaced(value, values) for key, value in document.items()}
    if isinstance(document, list):
        return [_replaced(value, values) for value in document]
    return document
