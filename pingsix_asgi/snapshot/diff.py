"""What differs between two sets of documents, by identity first.

A source keeps unchanged documents as the same objects in the same order, so the usual comparison is
one pass over pointers, without a look inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, compress, islice
from operator import eq, is_not

from ..types import JSON


def is_same(one: JSON, other: JSON) -> bool:
    """Tell whether two documents are the same JSON. Python alone would take 1, 1.0 and true so."""
    return one is other or (one == other and repr(one) == repr(other))


def other_objects(before: Mapping[str, JSON], now: Mapping[str, JSON]) -> Iterable[str]:
    """Return the ids in ``now`` that are new or stand for another object than before."""
    if now is before:
        return ()
    if len(before) <= len(now) and all(map(eq, before, now)):
        others = compress(now, map(is_not, before.values(), now.values()))
        return chain(others, islice(now, len(before), None))
    return [id for id, document in now.items() if before.get(id) is not document]


def changed(before: Mapping[str, JSON], now: Mapping[str, JSON]) -> list[str]:
    """Return the ids in ``now`` that are new or stand for another document than before."""
    return [
        id
        for id in other_objects(before, now)
        if id not in before or not is_same(before[id], now[id])
    ]


def gone(before: Mapping[str, JSON], now: Mapping[str, JSON]) -> set[str]:
    """Return the ids that are not there any more."""
    return set() if now is before else before.keys() - now.keys()
