"""Balancers: one small contract, one file per algorithm."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...context import Context
from ..node import Node
from .base import Balancer
from .ewma import Ewma
from .fnv import Fnv
from .ketama import Ketama
from .least_conn import LeastConn
from .random import Random
from .roundrobin import RoundRobin

__all__ = ["HASHING", "Balancer", "BalancerFactory", "balancer_factory"]

BalancerFactory = Callable[[Mapping[Node, int]], Balancer]

HASHING = frozenset({"chash", "fnv", "ketama"})
"""Types that need a key."""

_PLAIN: dict[str, BalancerFactory] = {
    "least_conn": LeastConn,
    "random": Random,
    "roundrobin": RoundRobin,
}


def balancer_factory(
    type: str, *, key_of: Callable[[Context], bytes] | None, monotonic: Callable[[], float]
) -> BalancerFactory:
    """Return what makes a balancer for one priority group.

    ``type`` is an upstream's (``chash`` and ``ketama`` are the same); ``key_of`` is needed by those
    in ``HASHING``. Raises ValueError for an unknown type.
    """
    if type in HASHING and key_of is not None:
        hashing = Fnv if type == "fnv" else Ketama
        return lambda weights: hashing(weights, key_of)
    if type == "ewma":
        return lambda weights: Ewma(weights, monotonic)
    try:
        return _PLAIN[type]
    except KeyError:
        raise ValueError(f"unknown balancer type {type!r}") from None
