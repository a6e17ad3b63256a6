"""etcd as a Store, over its JSON gateway."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from ..errors import SourceError
from ..types import JSON
from .etcd_client import UNAVAILABLE, EtcdClient, EtcdError
from .store import (
    Batch,
    Compacted,
    Condition,
    Created,
    Delete,
    Event,
    Item,
    Listing,
    Modified,
    Operation,
)

PAGE = 500
"""Items per range request: bounds how long decoding one answer holds up the event loop."""
CONTACT_INTERVAL_S = 5.0
"""How often a silent watch is backed by a read that needs the cluster's quorum."""
WATCH_SILENCE_S = 50.0
"""A watch silent for so long is opened again: its connection may be dead. Source: APISIX."""


class EtcdStore:
    """Keys under ``prefix`` in etcd (3.4 or newer)."""

    name = "etcd"

    def __init__(self, client: EtcdClient, prefix: str = "/apisix") -> None:
        self.client = client
        self.prefix = prefix.rstrip("/")

    async def list(self, prefix: str) -> Listing:
        """Return all items under ``prefix``, read page by page at one revision."""
        items: list[Item] = []
        start, end, revision = prefix.encode(), _encoded(_end(prefix)), 0
        while True:
            body = {"key": _encoded(start), "range_end": end, "limit": str(PAGE)}
            if revision:
                body["revision"] = str(revision)
            answer = await self.client.call("kv/range", body)
            revision = revision or int(answer["header"]["revision"])
            kvs = answer.get("kvs", ())
            items.extend(_item(kv) for kv in kvs)
            if not answer.get("more"):
                return Listing(items, revision)
            start = b64decode(kvs[-1]["key"]) + b"\0"

    async def get(self, key: str) -> Item | None:
        """Return one item by a linearizable read."""
        answer = await self.client.call("kv/range", {"key": _encoded(key.encode())})
        kvs = answer.get("kvs")
        return _item(kvs[0]) if kvs else None

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int | None:
        """Run one transaction; keys with a ttl get a lease each."""
        success = [await self._operation(operation) for operation in operations]
        body = {"compare": [_compare(item) for item in conditions], "success": success}
        answer = await self.client.call("kv/txn", body, is_write=True)
        return int(answer["header"]["revision"]) if answer.get("succeeded") else None

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        """Watch over one long request, opened again after silence, checked by quorum reads."""
        watch = _Watch(self.client, prefix, revision)
        tasks = [asyncio.create_task(watch.receive()), asyncio.create_task(watch.keep_contact())]
        try:
            while True:
                found = await watch.found.get()
                if isinstance(found, Exception):
                    raise found
                yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Do nothing: a watch of etcd is told at once."""

    async def aclose(self) -> None:
        """Close all connections."""
        await self.client.aclose()

    async def _operation(self, operation: Operation) -> JSON:
        key = _encoded(operation.key.encode())
        if isinstance(operation, Delete):
            return {"request_delete_range": {"key": key}}
        put = {"key": key, "value": _encoded(operation.value)}
        if operation.ttl_s is not None:
            body = {"TTL": str(max(1, operation.ttl_s))}
            answer = await self.client.call("lease/grant", body)
            put["lease"] = answer["ID"]
        return {"request_put": put}


class _Watch:
    """One watch: what it found, or what ended it, is in ``found``."""

    def __init__(self, client: EtcdClient, prefix: str, revision: int) -> None:
        self.found: asyncio.Queue[Batch | Exception] = asyncio.Queue()
        self._client = client
        self._key = _encoded(prefix.encode())
        self._end = _encoded(_end(prefix))
        self._next = revision
        self._endpoint = client.endpoint
        self._balance = 0
        """Keys made less keys deleted, by what the watch delivered."""
        self._at_first: int | None = None
        """How many keys there were when the watch began."""
        self._lacking_since: int | None = None
        """``_next`` when a change was first read that the watch had not delivered."""

    async def receive(self) -> None:
        """Keep a watch request open."""
        try:
            while True:
                try:
                    await self._stream()
                except TimeoutError:
                    continue
        except SourceError as error:
            self.found.put_nowait(error)

    async def keep_contact(self) -> None:
        """Read from the quorum now and then: a cut-off member keeps its watches open and silent.

        So does a dead connection; a change that was read and not delivered by the next time tells.
        """
        try:
            while True:
                await asyncio.sleep(CONTACT_INTERVAL_S)
                answer = await self._range(count_only=True)
                self._check_revision(answer)
                await self._check_delivery(answer)
                if self._client.endpoint != self._endpoint:
                    raise EtcdError(f"endpoint {self._endpoint} stopped answering", UNAVAILABLE)
                self.found.put_nowait(Batch((), self._next - 1))
        except SourceError as error:
            self.found.put_nowait(error)

    async def _stream(self) -> None:
        """Run one watch request. Its end is an error, silence a TimeoutError."""
        create = {
            "key": self._key,
            "range_end": self._end,
            "start_revision": str(self._next),
            "progress_notify": True,
        }
        self._endpoint = self._client.endpoint
        stream = self._client.stream("watch", {"create_request": create}, silence_s=WATCH_SILENCE_S)
        async with aclosing(stream):
            async for result in stream:
                if result.get("canceled"):
                    raise self._cancelled(result)
                if result.get("created"):
                    self._check_revision(result)
                self.found.put_nowait(self._batch(result))
        self._client.prefer_other()
        raise EtcdError("watch ended", UNAVAILABLE)

    def _batch(self, result: JSON) -> Batch:
        """Make a batch; the header tells how far etcd is, only events how far this watch is."""
        events = [_event(event) for event in result.get("events", ())]
        if events:
            self._next = events[-1].revision + 1
            self._balance += sum(map(_balance, events))
        return Batch(events, self._next - 1)

    def _check_revision(self, answer: JSON) -> None:
        """Raise Compacted when etcd is older than what was seen: it was replaced or restored."""
        reached = int(answer["header"]["revision"])
        if reached < self._next - 1:
            raise Compacted(f"etcd went back from revision {self._next - 1} to {reached}")

    async def _check_delivery(self, answer: JSON) -> None:
        """Raise when two reads found a change that the watch lacks, and it brought nothing between.

        etcd's revision grows by changes outside the prefix, too: whether a key is newer has to be
        asked. A deletion shows in the number of keys alone.
        """
        is_behind = int(answer["header"]["revision"]) >= self._next and await self._has_newer()
        at_first = int(answer.get("count", 0)) - self._balance
        if self._at_first is None and not is_behind:
            self._at_first = at_first
        if not is_behind and at_first == self._at_first:
            self._lacking_since = None
        elif self._lacking_since == self._next:
            raise EtcdError("the watch did not deliver a change", UNAVAILABLE)
        else:
            self._lacking_since = self._next

    async def _has_newer(self) -> bool:
        answer = await self._range(
            sort_order="DESCEND", sort_target="MOD", limit="1", keys_only=True
        )
        return any(int(kv["mod_revision"]) >= self._next for kv in answer.get("kvs", ()))

    async def _range(self, **options: str | bool) -> JSON:
        body = {"key": self._key, "range_end": self._end, **options}
        return await self._client.call("kv/range", body)

    def _cancelled(self, result: JSON) -> SourceError:
        reason = str(result.get("cancel_reason") or "no reason given")
        if int(result.get("compact_revision", 0)):
            return Compacted(f"etcd compacted up to revision {result['compact_revision']}")
        if "permission denied" in reason or "auth" in reason:
            # A watch opened with an expired token is refused this way, unlike any other call.
            self._client.forget_token()
        return EtcdError(f"watch cancelled: {reason}", UNAVAILABLE)


def _balance(event: Event) -> int:
    if event.item is None:
        return -1
    return 1 if event.item.created == event.item.modified else 0


def _compare(condition: Condition) -> JSON:
    if isinstance(condition, Created):
        target = {"target": "CREATE", "create_revision": str(condition.revision)}
        return {"key": _encoded(condition.key.encode()), "result": "EQUAL", **target}
    if isinstance(condition, Modified):
        target = {"target": "MOD", "mod_revision": str(condition.revision)}
        return {"key": _encoded(condition.key.encode()), "result": "EQUAL", **target}
    return {
        "key": _encoded(condition.prefix.encode()),
        "range_end": _encoded(_end(condition.prefix)),
        "result": "LESS",
        "target": "MOD",
        "mod_revision": str(condition.revision + 1),
    }


def _end(prefix: str) -> bytes:
    """Return the first key after all keys that start with ``prefix``."""
    raw = prefix.encode()
    return raw[:-1] + bytes([raw[-1] + 1]) if raw else b"\0"


def _encoded(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")


def _item(kv: dict[str, Any]) -> Item:
    return Item(
        key=b64decode(kv["key"]).decode("utf-8", "backslashreplace"),
        value=b64decode(kv.get("value", "")),
        created=int(kv.get("create_revision", 0)),
        modified=int(kv.get("mod_revision", 0)),
    )


def _event(event: dict[str, Any]) -> Event:
    item = _item(event["kv"])
    is_delete = event.get("type") == "DELETE"
    return Event(item.key, None if is_delete else item, item.modified)
