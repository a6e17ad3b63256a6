"""Patterns of whole segments behind one literal key: a tree with a dict per segment."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Self

from .draft import Draft
from .leaf import Leaf, order_of


class Steps:
    """One place in the tree: where the next segment leads, and the patterns that end here."""

    __slots__ = ("children", "ends", "parameter", "rests")

    def __init__(self) -> None:
        self.children: dict[str, Steps] = {}
        self.parameter: Steps | None = None
        self.ends: list[Leaf] = []
        """Patterns whose last segment leads here."""
        self.rests: list[Leaf] = []
        """Patterns that take anything from here on."""

    def copy(self) -> Self:
        """Return a copy that shares everything below."""
        copy = type(self)()
        copy.children, copy.parameter = self.children, self.parameter
        copy.ends, copy.rests = self.ends, self.rests
        return copy

    @property
    def is_empty(self) -> bool:
        return not (self.children or self.parameter or self.ends or self.rests)

    def find(self, segments: list[str], depth: int, found: list[list[Leaf]]) -> None:
        """Add the groups of patterns that match ``segments`` from ``depth`` on, each in order."""
        place = self
        for segment in segments[depth:] if depth else segments:
            depth += 1
            if place.rests:
                found.append(place.rests)
            child = place.children.get(segment)
            parameter = place.parameter if segment else None
            if child is None:
                if parameter is None:
                    return
                place = parameter
            else:
                if parameter is not None:
                    parameter.find(segments, depth, found)
                place = child
        if place.ends:
            found.append(place.ends)

    def add(self, draft: Draft, leaf: Leaf) -> None:
        """File a leaf below; ``self`` is owned by the draft."""
        place = self
        for step in leaf.pattern.steps:
            below = place.children.get(step) if step is not None else place.parameter
            below = draft.new(Steps()) if below is None else draft.own(below)
            if step is None:
                place.parameter = below
            else:
                place.children = draft.own(place.children)
                place.children[step] = below
            place = below
        if leaf.pattern.rest is None:
            place.ends = with_leaf(draft, place.ends, leaf)
        else:
            place.rests = with_leaf(draft, place.rests, leaf)

    def remove(self, draft: Draft, leaf: Leaf, depth: int = 0) -> None:
        """Take a leaf out and drop the places that it leaves empty; ``self`` is owned."""
        if depth == len(leaf.pattern.steps):
            if leaf.pattern.rest is None:
                self.ends = without_leaf(draft, self.ends, leaf)
            else:
                self.rests = without_leaf(draft, self.rests, leaf)
            return
        step = leaf.pattern.steps[depth]
        below = self.parameter if step is None else self.children[step]
        if below is None:
            return
        below = draft.own(below)
        below.remove(draft, leaf, depth + 1)
        if step is None:
            self.parameter = None if below.is_empty else below
            return
        self.children = draft.own(self.children)
        if below.is_empty:
            del self.children[step]
        else:
            self.children[step] = below


def with_leaf(draft: Draft, leaves: list[Leaf], leaf: Leaf) -> list[Leaf]:
    """Return the list with ``leaf`` at its place."""
    leaves = draft.own(leaves)
    insort(leaves, leaf, key=order_of)
    return leaves


def without_leaf(draft: Draft, leaves: list[Leaf], leaf: Leaf) -> list[Leaf]:
    """Return the list without ``leaf``, which is in it."""
    leaves = draft.own(leaves)
    del leaves[bisect_left(leaves, leaf.order, key=order_of)]
    return leaves
