"""Values kept elsewhere: ``$env://NAME``, ``$env://NAME/json_key``, ``$secret://vault/1/path/key``.

References are resolved before a configuration is compiled, never on the request path. One that
cannot be resolved stays as text and is logged; a consumer credential that is still a reference is
disabled by the consumer index, so the text of a reference is never accepted as a key.
Source: APISIX apisix/secret.lua (forms, cache times).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Protocol

from cachetools import TTLCache

from ..clock import Clock, SystemClock
from ..errors import SourceError
from ..types import JSON
from .fields import is_reference

logger = logging.getLogger("pingsix_asgi.secrets")

FOUND_S, MISSING_S = 300.0, 60.0
"""How long an answer of a secret manager is reused: a value, and a failure."""
_CACHED = 512


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

    async def resolve(self, document: JSON, managers: Mapping[str, SecretManager]) -> JSON:
        """Return the document with every reference that can be resolved replaced by its value.

        ``managers`` are keyed "vault/1" as in the reference. The document itself is returned when
        it holds no reference.
        """
        values: dict[str, str] = {}
        for reference in dict.fromkeys(find_references(document)):
            value = await self._value(reference, managers)
            if value is not None:
                values[reference] = value
        return _replaced(document, values) if values else document

    async def _value(self, reference: str, managers: Mapping[str, SecretManager]) -> str | None:
        scheme, _, rest = reference.partition("://")
        if scheme.lower() == "$env":
            value = self._from_environment(rest)
            if value is None:
                logger.warning("cannot resolve %s: no such variable or member", reference)
            return value
        if reference in self._found:
            return self._found[reference]
        if reference in self._missing:
            return None
        try:
            value = self._found[reference] = await _ask(rest, managers)
        except SourceError as error:
            logger.warning("cannot resolve %s: %s", reference, error)
            self._missing[reference] = True
            return None
        return value

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


async def _ask(rest: str, managers: Mapping[str, SecretManager]) -> str:
    parts = rest.split("/", 2)
    manager = managers.get("/".join(parts[:2])) if len(parts) == 3 else None
    if manager is None:
        raise SourceError(f"no secret manager {'/'.join(parts[:2])}")
    return await manager.fetch(parts[2])


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
