"""What the revisions of one upstream share: its nodes, with their pools, verdicts and probers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import NamedTuple
from weakref import WeakValueDictionary

from .discovery import Answers
from .health.active import watch
from .health.check import Check
from .health.status import NodeHealth
from .node import Node, PoolKey
from .pools import Pools
from .selection import HealthRevision, Selection
from .services import UpstreamServices
from .slow_start import Warming


class Endpoint(NamedTuple):
    """What makes a node the same one in the next revision: name and address, not its weight."""

    host: str
    connection: PoolKey


class _Probing:
    """The prober and the places of one check."""

    def __init__(self, check: Check) -> None:
        from .health.probe import Prober  # its HTTP client is only loaded when something is probed

        self.prober = Prober(check)
        self.slots = asyncio.Semaphore(check.concurrency)


class _Watch:
    """A running probe task and how many revisions rely on it."""

    def __init__(self, task: asyncio.Task[None], probing: _Probing) -> None:
        self.task, self.users = task, 1
        self.probing = probing  # keeps the places shared while a task uses them


class Roster:
    """Counts the revisions that use a node, or that watch it with some check.

    A node lives from the first ``take`` to the last ``give_back``, so a revision that is compiled
    before its predecessor stops finds connections, verdict and counts as they were.
    """

    def __init__(self, name: str, services: UpstreamServices) -> None:
        self.health = HealthRevision()
        self.answers: Answers = {}
        """The last good answer to each DNS question."""
        self.counting: dict[object, Selection] = {}
        """By revision, what has to know of every request that begins or ends."""
        self.warming = Warming(name)
        self._name, self._services = name, services
        self._pools = services.keep("upstream.pools", lambda: Pools(services.make_pool))
        self._nodes: dict[Endpoint, Node] = {}
        self._verdicts: dict[Node, NodeHealth] = {}
        self._users: Counter[Endpoint] = Counter()
        self._probings: WeakValueDictionary[Check, _Probing] = WeakValueDictionary()
        self._watches: dict[tuple[Node, Check], _Watch] = {}

    def take(self, endpoint: Endpoint) -> Node:
        """Return the node of ``endpoint``, made if no revision has it."""
        node = self._nodes.get(endpoint)
        if node is None:
            node = self._nodes[endpoint] = self._make(endpoint)
        self._users[endpoint] += 1
        return node

    def give_back(self, endpoint: Endpoint) -> None:
        """End one use; the last one retires the pool. Requests in flight go on."""
        self._users[endpoint] -= 1
        if not self._users[endpoint]:
            del self._users[endpoint]
            node = self._nodes.pop(endpoint)
            del self._verdicts[node]
            if not node.is_local:
                self._pools.give_back(endpoint.connection)

    def watch(self, node: Node, check: Check) -> None:
        """Have ``node`` probed, by the task that does so already if there is one."""
        if node.is_local:
            return
        current = self._watches.get((node, check))
        if current is not None:
            current.users += 1
            return
        probing = self._probings.get(check)
        if probing is None:
            probing = self._probings[check] = _Probing(check)
        work = watch(node, self._verdicts[node], check, probing.prober.probe, probing.slots)
        task = self._services.spawn(work, f"probe {node.name} of upstream {self._name}")
        self._watches[node, check] = _Watch(task, probing)

    def unwatch(self, node: Node, check: Check) -> None:
        """End one use of a probe task.

        A node that nobody checks any more is healthy: nothing would bring it back.
        """
        current = self._watches.get((node, check))
        if current is None:
            return
        current.users -= 1
        if current.users:
            return
        del self._watches[node, check]
        current.task.cancel()
        if not any(watched is node for watched, _ in self._watches):
            self._verdicts[node].reset()
            self._health_changed()

    def verdict(self, node: Node) -> NodeHealth:
        """Return what the checks of ``node``, which is in use, have found."""
        return self._verdicts[node]

    def _make(self, endpoint: Endpoint) -> Node:
        key = endpoint.connection
        node = Node(endpoint.host, key.port, address=key.host)
        label = f"upstream {self._name}: node {node.name}"
        if endpoint.host != key.host:
            label += f" ({endpoint.host})"
        node.health = self._verdicts[node] = NodeHealth(label, self._health_changed)
        if not node.is_local:
            node.pool = self._pools.take(key)
        return node

    def _health_changed(self) -> None:
        self.health.number += 1
