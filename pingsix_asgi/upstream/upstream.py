"""An upstream, compiled: which node takes a request, and what holds while talking to it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection, Sequence
from typing import TypedDict

from ..context import Context
from ..errors import NoUpstream, UpstreamError
from ..model.upstream import Upstream as UpstreamModel
from .balancer import HASHING, balancer_factory
from .discovery import Discovery, Location
from .hash_key import hash_key, key_needs_body
from .health.check import compile_check
from .health.passive import compile_passive
from .health.status import NodeHealth
from .node import Keepalive, Node, PoolKey, Timeouts, TLSOptions
from .roster import Endpoint, Roster
from .selection import Member, Selection
from .services import UpstreamDefaults, UpstreamServices
from .slow_start import slow_start_factory

logger = logging.getLogger("pingsix_asgi.upstream")

DEFAULT_REFRESH_S = 30.0
"""Time between two resolutions of names whose TTL nobody knows."""
MIN_REFRESH_S = 1.0
"""A TTL of 0 must not turn into a flood of questions."""
MAX_RETRY_S = 30.0
"""Longest wait after a failed resolution; the first is 1 s and it doubles, as in PingSIX."""
JITTER = 0.1
"""Share of a wait that is random, so that upstreams do not all ask at the same moment."""
FAILURE_S = 1.0
"""A failure counts as at least this slow: a node that refuses at once must not look fastest."""


class NodeStatus(TypedDict):
    """A node as APISIX's /v1/healthcheck shows it."""

    name: str
    ip: str
    port: int
    hostname: str
    status: str
    counter: dict[str, int]


class Upstream:
    """One revision of an upstream. The next revision of the same key takes its nodes over.

    ``pick`` works at once with what needs no resolution, or was resolved for the revision before;
    ``start`` resolves the rest and begins the health checks. Every compiled upstream must be
    stopped in the end, also one that was never started.
    """

    def __init__(self, model: UpstreamModel, *, key: str, services: UpstreamServices) -> None:
        defaults = services.defaults
        self.key = key
        self.name = model.name or model.id or key
        self.type = model.type
        self.scheme = model.scheme
        self.pass_host = model.pass_host
        self.upstream_host = model.upstream_host
        self.retries = 0
        """Attempts after the first one; unset in the model: one per further node."""
        self.retry_timeout = float(model.retry_timeout or 0)
        """Seconds in which a retry may begin; 0 is no limit."""
        self.timeout = _timeouts(model, defaults)
        self.tls = _tls(model, defaults)
        self.keepalive = _keepalive(model)
        self.check = compile_check(model, self.tls)
        """The active health check, or None."""
        self._passive = compile_passive(model)
        self._retries = model.retries
        self._services = services
        self._factory = balancer_factory(
            model.type,
            key_of=hash_key(model.hash_on, model.key),
            monotonic=services.clock.monotonic,
        )
        self.needs_body = model.type in HASHING and key_needs_body(model.hash_on, model.key)
        """``pick`` goes by the request body, which has to be read before."""
        self._roster = services.keep(f"upstream:{key}", lambda: Roster(self.name, services))
        self._warm_up = model.warm_up_conf
        if self._warm_up is not None:
            self._factory = slow_start_factory(self._warm_up, self._roster.warming, services.clock)
        self._counting = self._roster.counting
        self._discovery = Discovery(
            model,
            name=self.name,
            resolver=services.resolver,
            timeout_s=defaults.dns_timeout_s,
            answers=self._roster.answers,
        )
        self._selection: Selection | None = None
        self.single: Node | None = None
        """The node that ``pick`` gives, while there is only one to pick."""
        self._held: dict[Endpoint, Node] = {}
        self._placed: list[tuple[Endpoint, int, int]] = []
        self._is_started = self._is_stopped = False
        self._failures = 0
        self._refresher: asyncio.Task[None] | None = None
        self._apply(self._discovery.known())

    @classmethod
    def compile(cls, model: UpstreamModel, *, key: str, services: UpstreamServices) -> Upstream:
        """Compile a validated upstream. Nothing is sent and nothing is awaited.

        ``key`` says whose revision this is ("upstreams/1", "routes/5"): equal keys share nodes.
        """
        return cls(model, key=key, services=services)

    @property
    def nodes(self) -> Sequence[Node]:
        """Every node of the moment, also those of weight 0."""
        return tuple(self._held.values())

    def pick(self, ctx: Context, tried: Collection[Node] = ()) -> Node:
        """Return the node for the next attempt; ``tried`` are those that failed this request.

        Raises NoUpstream when there is no node, NoNode when all usable ones were tried.
        """
        if self._selection is None:
            raise NoUpstream(f"upstream {self.name} has no node")
        return self._selection.pick(ctx, tried)

    def started(self, node: Node) -> None:
        """Count a request as under way at ``node``."""
        node.active += 1
        if self._counting:
            self._counted(node)

    def finished(
        self, node: Node, status: int | None, error: UpstreamError | None, seconds: float
    ) -> None:
        """End what ``started`` began: with a ``status``, an ``error``, or neither (client left).

        ``seconds`` is the time to connect and to get the answer.
        """
        node.active -= 1
        if self._counting:
            self._counted(node)
        if self._passive is not None:
            self._judge(node, status, error)
        if self._selection is None or self.type != "ewma":
            return
        if error is not None:
            self._selection.learn(node, max(seconds, FAILURE_S))
        elif status is not None:
            self._selection.learn(node, seconds)

    def _judge(self, node: Node, status: int | None, error: UpstreamError | None) -> None:
        """Let a request of a client count for the health of a node that is probed, too."""
        health = node.health
        if self._passive is None or node.is_local or not isinstance(health, NodeHealth):
            return
        for outcome in self._passive.outcomes(status, error):
            health.report(outcome, self._passive.thresholds)

    def _counted(self, node: Node) -> None:
        for selection in self._counting.values():
            selection.counted(node)

    async def start(self) -> None:
        """Resolve names, once, within ``dns_timeout_s``, and begin checks and refreshes.

        Does not fail: a name that does not resolve is tried again in the background, and requests
        get NoUpstream while there is no node at all.
        """
        if self._is_started or self._is_stopped:
            return
        self._is_started = True
        for node in self._held.values():
            self._watch(node)
        if self._discovery.is_static:
            return
        wait_s = await self._refresh()
        if not self._is_stopped:
            name = f"names of upstream {self.name}"
            self._refresher = self._services.spawn(self._keep_fresh(wait_s), name)

    def stop(self) -> None:
        """Give up nodes, checks and refreshes, as far as no other revision uses them.

        Requests in flight may still pick, and finish.
        """
        if self._is_stopped:
            return
        self._is_stopped = True
        if self._refresher is not None:
            self._refresher.cancel()
        for endpoint, node in self._held.items():
            self._give_back(endpoint, node)
        self._held = {}
        self._counting.pop(self, None)

    def health(self) -> list[NodeStatus]:
        """Return what the checks say of each node; nothing when there is no check."""
        if self.check is None:
            return []
        return [self._status(node) for node in self._held.values()]

    def _status(self, node: Node) -> NodeStatus:
        verdict = self._roster.verdict(node)
        return {
            "name": self.name,
            "ip": node.address,
            "port": self.check.port or node.port if self.check else node.port,
            "hostname": self.check.host_of(node) if self.check else node.host,
            "status": verdict.state,
            "counter": {str(outcome): count for outcome, count in verdict.counters.items()},
        }

    async def _keep_fresh(self, wait_s: float) -> None:
        while True:
            await asyncio.sleep(wait_s)
            try:
                wait_s = await self._refresh()
            except Exception:
                logger.exception("upstream %s: resolution failed", self.name)
                wait_s = MAX_RETRY_S

    async def _refresh(self) -> float:
        """Resolve once; return the seconds until the next time."""
        try:
            found = await self._discovery.resolve()
        except NoUpstream as error:
            logger.warning("%s", error)
            is_complete, wait_s = False, 0.0
        else:
            is_complete = found.is_complete
            wait_s = self._services.defaults.dns_refresh_s or max(
                MIN_REFRESH_S, DEFAULT_REFRESH_S if found.ttl_s is None else found.ttl_s
            )
            if not self._is_stopped:
                self._apply(found.locations)
        if is_complete:
            self._failures = 0
        else:
            wait_s = min(2.0**self._failures, MAX_RETRY_S)
            self._failures = min(self._failures + 1, 10)
        return wait_s * random.uniform(1 - JITTER, 1 + JITTER)

    def _apply(self, locations: Sequence[Location]) -> None:
        """Make ``locations`` the nodes; those that stay keep all they have."""
        latest = {self._endpoint(item): item for item in locations}
        placed = [(endpoint, item.weight, item.priority) for endpoint, item in latest.items()]
        if placed == self._placed:
            return
        before = self._held
        self._placed = placed
        self._held = {e: before.get(e) or self._roster.take(e) for e in latest}
        for endpoint, node in self._held.items():
            if endpoint not in before and self._is_started:
                self._watch(node)
        self._select()
        for endpoint, node in before.items():
            if endpoint not in latest:
                logger.info("upstream %s: node %s is gone", self.name, node.name)
                self._give_back(endpoint, node)

    def _select(self) -> None:
        members = []
        for endpoint, weight, priority in self._placed:
            node = self._held[endpoint]
            node.weight, node.priority = weight, priority
            members.append(Member(node, weight, priority))
        self._selection = None
        if self._warm_up is not None:
            now = self._services.clock.monotonic()
            self._roster.warming.arrange(self._held.values(), self._warm_up, now)
        if members:
            self._selection = Selection(
                members,
                self._factory,
                name=self.name,
                clock=self._services.clock,
                health=self._roster.health,
            )
            if self.type == "least_conn":
                self._counting[self] = self._selection
        self.single = self._selection.single if self._selection else None
        further = len(self._selection.nodes) - 1 if self._selection else 0
        self.retries = further if self._retries is None else self._retries

    def _endpoint(self, location: Location) -> Endpoint:
        server_name = None
        if self.tls is not None:
            server_name = self._server_name(location)
        key = PoolKey(location.address, location.port, self.tls, server_name, self.keepalive)
        return Endpoint(location.host, key)

    def _server_name(self, location: Location) -> str | None:
        """Return what TLS asks for: the host that is sent, or the node's name if it has one."""
        if self.upstream_host is not None and self.pass_host == "rewrite":  # noqa: S105
            return self.upstream_host.partition(":")[0]
        return location.host if location.host != location.address else None

    def _watch(self, node: Node) -> None:
        if self.check is not None:
            self._roster.watch(node, self.check)

    def _give_back(self, endpoint: Endpoint, node: Node) -> None:
        if self.check is not None and self._is_started:
            self._roster.unwatch(node, self.check)
        self._roster.give_back(endpoint)


def _timeouts(model: UpstreamModel, defaults: UpstreamDefaults) -> Timeouts:
    given = model.timeout
    return defaults.timeout if given is None else Timeouts(given.connect, given.send, given.read)


def _tls(model: UpstreamModel, defaults: UpstreamDefaults) -> TLSOptions | None:
    if model.scheme != "https":
        return None
    verify = model.tls.verify if model.tls is not None else None
    return TLSOptions(
        verify=defaults.tls_verify if verify is None else verify,
        ca_file=defaults.tls_ca_file,
        client_cert=model.tls.client_cert if model.tls else None,
        client_key=model.tls.client_key if model.tls else None,
    )


def _keepalive(model: UpstreamModel) -> Keepalive:
    given = model.keepalive_pool
    if given is None:
        return Keepalive()
    return Keepalive(given.size, given.idle_timeout, given.requests)
