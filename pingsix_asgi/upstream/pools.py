"""Connection pools shared by all nodes that are connected to alike, whatever their upstream."""

from __future__ import annotations

from collections.abc import Callable

from .node import PoolKey
from .services import NodePool


class Pools:
    """Counts who uses a pool; the last one to give it back retires it."""

    def __init__(self, make_pool: Callable[[PoolKey], NodePool]) -> None:
        self._make_pool = make_pool
        self._pools: dict[PoolKey, tuple[NodePool, int]] = {}

    def take(self, key: PoolKey) -> NodePool:
        """Return the pool of ``key``, made if nobody uses one."""
        pool, users = self._pools.get(key) or (self._make_pool(key), 0)
        self._pools[key] = pool, users + 1
        return pool

    def give_back(self, key: PoolKey) -> None:
        """End one use. The last one closes idle connections; requests in flight go on."""
        pool, users = self._pools[key]
        if users > 1:
            self._pools[key] = pool, users - 1
        else:
            del self._pools[key]
            pool.retire()
