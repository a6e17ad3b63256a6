"""Active checks: one task per node and check, which outlives configuration revisions."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from ..node import Node
from .check import Check
from .status import NodeHealth, Outcome

logger = logging.getLogger("pingsix_asgi.health")


async def watch(
    node: Node,
    health: NodeHealth,
    check: Check,
    probe: Callable[[Node], Awaitable[Outcome | None]],
    slots: asyncio.Semaphore,
) -> None:
    """Probe ``node`` until cancelled, and report to ``health``.

    The first probe comes at a random moment of the first interval, so that many nodes are not
    probed at once; after that the interval is that of the node's verdict, from start to start.
    ``slots`` bounds how many nodes of the check are probed at a time.
    """
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(random.random() * check.healthy_interval_s)
    while True:
        async with slots:
            started = clock()
            try:
                outcome = await probe(node)
            except Exception:
                logger.exception("probe of %s failed", node.name)
            else:
                if outcome is not None:
                    health.report(outcome, check.thresholds)
        interval = check.healthy_interval_s if health.is_healthy else check.unhealthy_interval_s
        await asyncio.sleep(max(0.0, started + interval - clock()))
