"""Copy on write, once per change set: what was published is never touched, the rest is shared."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar


class Copyable(Protocol):
    """Anything that can make a shallow copy of itself: dict, list and the nodes of the tables."""

    def copy(self) -> Self:
        """Return a shallow copy."""


T = TypeVar("T", bound=Copyable)


class Draft:
    """Remembers which objects were made for this change set and may therefore be edited."""

    def __init__(self) -> None:
        self._owned: dict[int, Copyable] = {}

    def new(self, thing: T) -> T:
        """Register an object that was just made."""
        self._owned[id(thing)] = thing  # also keeps it alive, so that its id stays its own
        return thing

    def own(self, thing: T) -> T:
        """Return ``thing`` itself if it was made for this change set, else a copy of it."""
        return thing if id(thing) in self._owned else self.new(thing.copy())
