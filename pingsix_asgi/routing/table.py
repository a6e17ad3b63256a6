"""The paths of one host: exact ones in a dict, the others by the literal text they start with.

Order of trial, as in APISIX's radixtree: the exact path; then the patterns by their literal start
("key"), the longest first; within a key by ``Leaf.order``. A leaf whose conditions fail passes the
request on to the next.
"""

from __future__ import annotations

from itertools import chain
from typing import Final, Self

from ..context import Context, Match
from .draft import Draft
from .leaf import Leaf, order_of
from .lengths import Lengths
from .pattern import Kind
from .steps import Steps, with_leaf, without_leaf

_NO_SEGMENTS: Final[list[str]] = []


class Bucket:
    """The patterns that share one key."""

    __slots__ = ("odd", "prefixes", "steps")

    def __init__(self) -> None:
        self.prefixes: list[Leaf] = []
        self.steps: Steps | None = None
        self.odd: list[Leaf] = []
        """Patterns that need a regex."""

    def copy(self) -> Self:
        """Return a copy that shares everything below."""
        copy = type(self)()
        copy.prefixes, copy.steps, copy.odd = self.prefixes, self.steps, self.odd
        return copy

    @property
    def is_empty(self) -> bool:
        return not (self.prefixes or self.steps or self.odd)

    def find(self, ctx: Context, path: str, start: int) -> Match | None:
        """Try the patterns; ``path`` begins with the key, which ends at ``start``."""
        if self.steps is None and not self.odd:
            return _first(self.prefixes, ctx, path, _NO_SEGMENTS)
        groups: list[list[Leaf]] = []
        if self.prefixes:
            groups.append(self.prefixes)
        if self.odd:
            groups.append(self.odd)
        segments = _NO_SEGMENTS
        if self.steps is not None:
            segments = path[start:].split("/")
            self.steps.find(segments, 0, groups)
        if len(groups) == 1:
            return _first(groups[0], ctx, path, segments)
        leaves = sorted(chain.from_iterable(groups), key=order_of)
        return _first(leaves, ctx, path, segments)

    def add(self, draft: Draft, leaf: Leaf) -> None:
        """File a leaf; ``self`` is owned by the draft."""
        if leaf.pattern.kind is Kind.PREFIX:
            self.prefixes = with_leaf(draft, self.prefixes, leaf)
        elif leaf.pattern.kind is Kind.REGEX:
            self.odd = with_leaf(draft, self.odd, leaf)
        else:
            self.steps = draft.new(Steps()) if self.steps is None else draft.own(self.steps)
            self.steps.add(draft, leaf)

    def remove(self, draft: Draft, leaf: Leaf) -> None:
        """Take out a leaf that is here; ``self`` is owned by the draft."""
        if leaf.pattern.kind is Kind.PREFIX:
            self.prefixes = without_leaf(draft, self.prefixes, leaf)
        elif leaf.pattern.kind is Kind.REGEX:
            self.odd = without_leaf(draft, self.odd, leaf)
        elif self.steps is not None:
            self.steps = draft.own(self.steps)
            self.steps.remove(draft, leaf)
            if self.steps.is_empty:
                self.steps = None


class Folder:
    """The keys that have the same text up to their last "/"."""

    __slots__ = ("buckets", "lengths", "only")

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        """By the text after the last "/", mostly ""."""
        self.lengths = Lengths()
        """Of those texts: one look-up each."""
        self.only: list[Leaf] | None = None
        """All there is, when it is prefixes that end with the folder, as in ``/api/*``."""

    def copy(self) -> Self:
        """Return a copy that shares everything below."""
        copy = type(self)()
        copy.buckets, copy.lengths, copy.only = self.buckets, self.lengths, self.only
        return copy

    def find(self, ctx: Context, path: str, start: int) -> Match | None:
        """Try the keys, longest first; ``path`` begins with the folder, which ends at ``start``."""
        for length in self.lengths.descending:
            end = start + length
            bucket = self.buckets.get(path[start:end])
            if bucket is not None and end <= len(path):
                match = bucket.find(ctx, path, end)
                if match is not None:
                    return match
        return None

    def set(self, draft: Draft, tail: str, bucket: Bucket | None) -> None:
        """Put a bucket, or take it out when None; ``self`` is owned by the draft."""
        self.buckets = draft.own(self.buckets)
        self.lengths = draft.own(self.lengths)
        self.lengths.count(len(tail), (bucket is not None) - (tail in self.buckets))
        if bucket is None:
            del self.buckets[tail]
        else:
            self.buckets[tail] = bucket
        sole = self.buckets.get("") if len(self.buckets) == 1 else None
        self.only = None if sole is None or sole.steps is not None or sole.odd else sole.prefixes


class Table:
    """All paths of one host, or of the routes that name no host."""

    __slots__ = ("exact", "folders", "reach")

    def __init__(self) -> None:
        self.exact: dict[str, list[Leaf]] = {}
        self.folders: dict[str, Folder] = {}
        self.reach = 0
        """No folder is longer than this; deeper parts of a path need no look-up."""

    def copy(self) -> Self:
        """Return a copy that shares everything below."""
        copy = type(self)()
        copy.exact, copy.folders, copy.reach = self.exact, self.folders, self.reach
        return copy

    @property
    def is_empty(self) -> bool:
        return not (self.exact or self.folders)

    def find(self, ctx: Context) -> Match | None:
        """Return the match of the first path whose conditions hold; sets ``ctx.params``."""
        path = ctx.request.path
        leaves = self.exact.get(path)
        if leaves is not None:
            match = _first(leaves, ctx, path, _NO_SEGMENTS)
            if match is not None:
                return match
        folders = self.folders
        slash = path.rfind("/", 0, self.reach)
        while slash >= 0:
            folder = folders.get(path[: slash + 1])
            if folder is not None:
                only = folder.only
                if only is None:
                    match = folder.find(ctx, path, slash + 1)
                else:
                    match = _first(only, ctx, path, _NO_SEGMENTS)
                if match is not None:
                    return match
            slash = path.rfind("/", 0, slash)
        return None

    def add(self, draft: Draft, leaf: Leaf) -> None:
        """File a leaf; ``self`` is owned by the draft."""
        key = leaf.pattern.key
        if leaf.pattern.kind is Kind.EXACT:
            self.exact = draft.own(self.exact)
            leaves = self.exact.get(key)
            self.exact[key] = with_leaf(draft, draft.new([]) if leaves is None else leaves, leaf)
            return
        name, tail = _split(key)
        self.folders = draft.own(self.folders)
        folder = self.folders.get(name)
        folder = self.folders[name] = draft.new(Folder()) if folder is None else draft.own(folder)
        bucket = folder.buckets.get(tail)
        bucket = draft.new(Bucket()) if bucket is None else draft.own(bucket)
        bucket.add(draft, leaf)
        folder.set(draft, tail, bucket)
        self.reach = max(self.reach, len(name))

    def remove(self, draft: Draft, leaf: Leaf) -> None:
        """Take out a leaf that is here; ``self`` is owned by the draft."""
        key = leaf.pattern.key
        if leaf.pattern.kind is Kind.EXACT:
            self.exact = draft.own(self.exact)
            self.exact[key] = without_leaf(draft, self.exact[key], leaf)
            if not self.exact[key]:
                del self.exact[key]
            return
        name, tail = _split(key)
        self.folders = draft.own(self.folders)
        folder = self.folders[name] = draft.own(self.folders[name])
        bucket = draft.own(folder.buckets[tail])
        bucket.remove(draft, leaf)
        folder.set(draft, tail, None if bucket.is_empty else bucket)
        if not folder.buckets:
            del self.folders[name]


def _split(key: str) -> tuple[str, str]:
    cut = key.rindex("/") + 1
    return key[:cut], key[cut:]


def _first(leaves: list[Leaf], ctx: Context, path: str, segments: list[str]) -> Match | None:
    method = ctx.request.method
    for leaf in leaves:
        if leaf.methods is not None and method not in leaf.methods:
            continue
        if leaf.captures:
            params = leaf.capture(path, segments)
            if params is None:
                continue
            ctx.params = params or None
        if leaf.test is None or leaf.test(ctx):
            return leaf.match
        ctx.params = None
    return None
