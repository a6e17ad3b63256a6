"""One path of one route, ready to be tried: its conditions, its order, what it captures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ..context import Context, Match
from ..http.addresses import AddressSet
from .pattern import Part, PathPattern

Test: TypeAlias = Callable[[Context], bool]
Order: TypeAlias = tuple[int, tuple[int, ...], str, int]


class Leaf:
    """A path pattern with the conditions of its route. Never changed once made.

    ``order`` sorts leaves that share a key: priority (highest first), pattern rank, route id, place
    in the route's list of paths.
    """

    __slots__ = ("_params", "captures", "match", "methods", "order", "pattern", "test")

    def __init__(
        self,
        pattern: PathPattern,
        match: Match,
        order: Order,
        methods: frozenset[str] | None,
        test: Test | None,
    ) -> None:
        self.pattern = pattern
        self.match = match
        self.order = order
        self.methods = methods
        self.test = test
        self.captures = bool(
            pattern.params or pattern.regex or (pattern.rest and pattern.rest.text)
        )
        self._params = pattern.params

    def capture(self, path: str, segments: list[str]) -> dict[str, str] | None:
        """Return the parameters, or None when the path does not match after all.

        ``segments`` are those after the key (unused for a PREFIX or REGEX pattern).
        """
        pattern = self.pattern
        if pattern.regex is not None:
            found = pattern.regex.fullmatch(path)
            return None if found is None else dict(zip(pattern.names, found.groups(), strict=True))
        params = {}
        for index, name in self._params:
            params[name] = segments[index]
        rest = pattern.rest
        if rest is not None:
            depth = len(pattern.steps)
            value = "/".join(segments[depth:]) if depth else path[len(pattern.key) :]
            if not value and rest.part is Part.SOMETHING:
                return None
            params[rest.text] = value
        return params


def order_of(leaf: Leaf) -> Order:
    """Return the sort key."""
    return leaf.order


def combine(remote_addrs: AddressSet | None, predicate: Test | None) -> Test | None:
    """Join the conditions on the client's address and the predicate into one test."""
    if remote_addrs is None:
        return predicate
    if predicate is None:
        return lambda ctx: ctx.request.client[0] in remote_addrs
    return lambda ctx: ctx.request.client[0] in remote_addrs and predicate(ctx)
