"""The contract of a balancer: which of these nodes takes the next request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

from ...context import Context
from ..node import Node


class Balancer(ABC):
    """Chooses among the nodes of one priority group.

    It is made with every node of the group and its weight (at least 1). ``use`` says which of them
    are healthy now; it is called before the first pick and again when that changes, so a pick looks
    at no health state. State that must outlive the balancer is kept on the nodes.
    """

    def __init__(self, weights: Mapping[Node, int]) -> None:
        self._weights = weights

    @abstractmethod
    def use(self, nodes: Sequence[Node]) -> None:
        """Pick only among ``nodes`` from now on: at least one, in the order they were given."""

    @abstractmethod
    def pick(self, ctx: Context, tried: Collection[Node]) -> Node | None:
        """Return a node that is not in ``tried``, or None when all are. Never waits."""

    def counted(self, node: Node) -> None:  # noqa: B027 - most balancers count nothing
        """Note that ``node.active`` changed, for whatever revision the request is."""

    def learn(self, node: Node, sample_s: float) -> None:  # noqa: B027
        """Note how long ``node`` took to answer."""
