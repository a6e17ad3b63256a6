"""Reading and changing resources: the verbs of the Admin API.

Every change reads, decides and writes on condition that nothing it looked at has changed; when
something has, it starts over. So no update is lost, whoever else writes.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from ...clock import Clock
from ...config.layout import decode_json, encode_json
from ...config.store import Condition, Modified, Put, Unchanged
from ...plugin.registry import Registry
from ...types import JSON
from .edit import check_times, merged, replaced, stamped
from .exchange import Encoded, Refusal, Request, encoded, encoded_list, refused
from .integrity import Integrity
from .kinds import ID, USERNAME, Kind
from .query import Selection
from .repository import Repository, Stored, unhurried
from .validation import check_resource

ATTEMPTS: Final = 50
"""Tries of one change before the client is told; with 8 writers on one key about 8 are needed."""
LONGEST_TTL_S: Final = 315_360_000
NOT_FOUND: Final = {"message": "Key not found"}

Make = Callable[[Stored | None], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names: a kind, an id in it unless it is the collection, a part of a document.

    ``parent`` is the consumer of credentials and the manager of secrets.
    """

    kind: Kind
    id: str | None
    parent: str = ""
    sub_path: tuple[str, ...] = ()


Answer = tuple[int, JSON | Encoded]


class _Taken(Exception):
    """An id that was made for a new resource is in use."""


class ResourceAPI:
    """The verbs. Each returns a status and a document, or raises Refusal or SourceError."""

    def __init__(self, repository: Repository, registry: Registry, clock: Clock) -> None:
        self._repository, self._registry, self._clock = repository, registry, clock
        self._integrity = Integrity(repository, registry)

    async def get(self, place: Place, request: Request) -> Answer:
        """Show one resource or a list."""
        kind = place.kind.name
        if place.id is None:
            folder = self._repository.folder(kind, place.parent)
            stored, _ = await self._repository.list(folder)
            stored = [one for one in stored if one.kind == kind]
            if kind == "credentials" and not stored:  # no folder, as APISIX's etcd has it
                raise Refusal(404, NOT_FOUND)
            return 200, await self._selected(stored, kind, request)
        found = await self._repository.get(kind, place.id) if _is_id(place) else None
        if found is None:
            raise Refusal(404, NOT_FOUND)
        return 200, self._repository.entry(found, is_bare=_is_bare(request))

    async def _selected(self, stored: list[Stored], kind: str, request: Request) -> Encoded:
        """Return the list that was asked for, written entry by entry: it may be long."""
        selection = Selection(kind, request.query)
        found = [one async for one in unhurried(stored) if selection.takes(one)]
        is_bare = _is_bare(request)
        chosen = unhurried(selection.cut(found))
        entries = [encoded(self._repository.entry(one, is_bare=is_bare)) async for one in chosen]
        return encoded_list(len(found), entries)

    async def put(self, place: Place, request: Request) -> Answer:
        """Write a whole resource."""
        ttl_s = _ttl(request)
        kind, body = place.kind, _document(request)
        id = _id_for_put(place, body)
        check_times(body)
        self._check_name(kind, id)
        sent = body if place.id is None else _with_id(kind, id, body)

        def make(before: Stored | None) -> dict[str, Any]:
            document = self._repository.restored(kind.name, sent, before)
            return stamped(document, before and before.document, self._now())

        is_new, document = await self._write(kind, id, make, ttl_s)
        return 201 if is_new else 200, self._repository.shown(kind.name, id, document)

    async def post(self, place: Place, request: Request) -> Answer:
        """Write a new resource under an id made from the store's revision."""
        ttl_s = _ttl(request)
        kind, body = place.kind, _document(request)
        if place.id is not None or body.get("id") is not None:
            raise refused(400, f"wrong {kind.label} id, do not need it")
        check_times(body)
        body = self._repository.restored(kind.name, body, None)
        self._check(kind, "0", stamped(_with_id(kind, "0", body), None, self._now()))

        id = ""

        def make(before: Stored | None) -> dict[str, Any]:
            if before is not None:  # the store began anew, or somebody counts as we do
                raise _Taken
            return stamped(_with_id(kind, id, body), None, self._now())

        for _ in range(ATTEMPTS):
            id = await self._new_id()
            with suppress(_Taken):
                _, document = await self._write(kind, id, make, ttl_s)
                return 201, self._repository.shown(kind.name, id, document)
        raise refused(503, "no free id was found")

    async def patch(self, place: Place, request: Request) -> Answer:
        """Merge into a resource, or replace a part of it."""
        ttl_s = _ttl(request)
        kind, id = place.kind, place.id
        if id is None:
            text = "no secret id" if kind.name == "secrets" else f"missing {kind.label} id"
            raise refused(400, text)
        if not request.has_body:
            raise refused(400, "missing new configuration")
        change = request.body
        if not place.sub_path and not isinstance(change, dict):
            raise refused(400, "invalid configuration")

        def make(before: Stored | None) -> dict[str, Any]:
            if before is None:
                raise Refusal(404, NOT_FOUND)
            if not isinstance(before.document, dict):
                raise refused(400, "invalid configuration: the stored value is not an object")
            if place.sub_path:
                document = replaced(before.document, place.sub_path, change)
            else:
                document = merged(before.document, change)
                _check_id(kind, id, document.get("id"))
            document = self._repository.restored(kind.name, _with_id(kind, id, document), before)
            document = self._repository.opened(kind.name, document)
            given = None if place.sub_path else change
            return stamped(document, before.document, self._now(), given)

        if not _is_id(place):
            raise Refusal(404, NOT_FOUND)
        _, document = await self._write(kind, id, make, ttl_s)
        return 200, self._repository.shown(kind.name, id, document)

    async def delete(self, place: Place, request: Request) -> Answer:
        """Delete a resource that nothing uses; a consumer goes with its credentials."""
        kind, id = place.kind.name, place.id
        if id is None:
            what = "name" if kind == "consumers" else "id"
            raise refused(400, f"missing {place.kind.label} {what}")
        if not _is_id(place):
            raise Refusal(404, NOT_FOUND)
        key = self._repository.key(kind, id)
        for attempt in range(ATTEMPTS):
            found = await self._repository.get(kind, id)
            if found is None:
                raise Refusal(404, NOT_FOUND)
            keys, conditions = [key], [Modified(key, found.item.modified)]
            checked: list[Condition] = [*conditions]
            if kind == "consumers":
                folder = self._repository.folder("credentials", id)
                below, revision = await self._repository.list(folder)
                keys = [*(one.item.key for one in below), key]
                checked.append(Unchanged(folder, revision))
            elif request.query.get("force") != "true":
                checked += await self._integrity.deleting(kind, id)
            if await self._repository.delete(keys, checked):
                return 200, {"deleted": "1", "key": key}
            await _wait(attempt)
        raise refused(503, "value changed before overwritten")

    async def _write(
        self, kind: Kind, id: str, make: Make, ttl_s: int | None
    ) -> tuple[bool, dict[str, Any]]:
        """Make and write a document until nothing came between; tell whether it is new."""
        key = self._repository.key(kind.name, id)
        for attempt in range(ATTEMPTS):
            before = await self._repository.get(kind.name, id)
            document = make(before)
            self._check(kind, id, document)
            conditions = await self._integrity.writing(kind.name, id, document)
            conditions.append(Modified(key, before.item.modified if before else 0))
            if await self._repository.put(kind.name, id, document, conditions, ttl_s):
                return before is None, document
            await _wait(attempt)
        raise refused(503, "value changed before overwritten")

    def _check(self, kind: Kind, id: str, document: dict[str, Any]) -> None:
        try:
            decode_json(encode_json(document))  # as it will be read, also when it was put together
        except (ValueError, RecursionError) as error:
            raise refused(400, f"invalid configuration: {error}") from None
        if text := check_resource(kind.name, id, document, self._registry):
            raise refused(400, text)

    def _check_name(self, kind: Kind, id: str) -> None:
        """Refuse ids that cannot be part of a key."""
        if kind.name == "plugin_metadata":
            if id not in self._registry.names():
                raise refused(400, "invalid plugin name")
        elif kind.name == "consumers":
            if not USERNAME.fullmatch(id):
                text = f'failed to match pattern "^[a-zA-Z0-9_\\-]+$" with "{id}"'
                text = f'property "username" validation failed: {text}'
                raise refused(400, f"invalid configuration: {text}")
        elif not all(ID.fullmatch(part) for part in id.split("/")):
            text = 'property "id" validation failed: object matches none of the required'
            raise refused(400, f"invalid configuration: {text}")

    async def _new_id(self) -> str:
        store = self._repository.store
        revision = await store.commit([Put(f"{store.prefix}/gen_id", b"1")])
        return f"{revision:020d}"

    def _now(self) -> int:
        return int(self._clock.time())


def _document(request: Request) -> dict[str, Any]:
    if not request.has_body:
        raise refused(400, "missing configurations")
    if not isinstance(request.body, dict):
        raise refused(400, "invalid configuration: wrong type: expected object")
    return request.body


def _id_for_put(place: Place, body: dict[str, Any]) -> str:
    """Return the id a PUT is for, from path or body. Raises Refusal when there is none, or two."""
    kind = place.kind
    if kind.name == "consumers":
        username = body.get("username")
        if not isinstance(username, str):
            text = 'property "username" is required'
            if username is not None:
                text = 'property "username" validation failed: wrong type: expected string'
            raise refused(400, f"invalid configuration: {text}")
        if place.id not in (None, username):
            raise refused(400, "wrong username")
        return username
    if kind.name == "plugin_metadata":
        if place.id is None:
            raise refused(400, "missing plugin name")
        return place.id
    given = body.get("id")
    if place.id is not None:
        _check_id(kind, place.id, given)
        return place.id
    if kind.name == "secrets" or not _is_id_value(given):
        raise refused(400, f"missing {kind.label} id")
    return f"{place.parent}/{given}" if kind.name == "credentials" else str(given)


def _check_id(kind: Kind, id: str, given: JSON) -> None:
    """Refuse a body that claims another id; below a parent the short form is good, too."""
    if given is not None and str(given) not in (id, id.partition("/")[2]):
        raise refused(400, f"wrong {kind.label} id")


def _with_id(kind: Kind, id: str, document: dict[str, Any]) -> dict[str, Any]:
    if not kind.has_id:
        return document
    shown = id.partition("/")[2] if kind.name == "credentials" else id
    return {**document, "id": shown}


def _is_id_value(value: JSON) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _is_id(place: Place) -> bool:
    """Tell whether a path's id could exist at all."""
    if place.id is None:
        return False
    if place.kind.name == "consumers":
        return USERNAME.fullmatch(place.id) is not None
    return all(USERNAME.fullmatch(part) or ID.fullmatch(part) for part in place.id.split("/"))


def _is_bare(request: Request) -> bool:
    """Tell whether a client wants documents as they are stored, without defaults."""
    return request.query.get("defaults") == "false"


def _ttl(request: Request) -> int | None:
    text = request.query.get("ttl")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_TTL_S:
        raise refused(400, "invalid argument ttl: should be a number")
    return math.ceil(seconds)


async def _wait(attempt: int) -> None:
    """Let others finish; longer each time, and different for each writer."""
    await asyncio.sleep(random.uniform(0, 0.004) * min(attempt + 1, 12))
