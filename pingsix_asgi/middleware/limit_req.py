"""Limit the rate of requests with a leaky bucket: hold those that come early, refuse a burst."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Annotated, Literal

from pydantic import Field

from ..context import Context
from ..http.response import error_page
from ..plugin.base import Host, Plugin, Reply
from ..ratelimit.conf import SECRETS, LimitConf
from ..ratelimit.keys import counter_prefix, key_needs_body, key_of
from ..ratelimit.leaky import LeakyBucket
from ..ratelimit.machine import machine_stores
from ..ratelimit.redis import RedisLeakyBucket, connection
from ..ratelimit.store import StoreError

logger = logging.getLogger("pingsix_asgi.plugins.limit_req")

_SHORTEST_DELAY_S = 0.001


class LimitReq(Plugin):
    """Let ``rate`` requests per second through; up to ``burst`` more wait, or pass with nodelay.

    Source: apisix/plugins/limit-req.lua.
    """

    name = "limit-req"
    priority = 1001
    encrypted = SECRETS

    class Conf(LimitConf):
        rate: Annotated[float, Field(gt=0)]
        """Requests per second."""
        burst: Annotated[float, Field(ge=0)]
        """Requests that may be early."""
        key: str
        """What is counted by."""
        key_type: Literal["var", "var_combination"] = "var"
        """``key`` is a variable, or a template."""
        nodelay: bool = False
        """Do not hold requests that are early, let them pass."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._rate, self._burst = conf.rate, conf.burst
        self._value = key_of(conf.key_type, conf.key)
        self.needs_body = key_needs_body(conf.key_type, conf.key)
        self._waits = not conf.nodelay
        self._refusal = conf.refusal()

    def setup(self, host: Host) -> None:
        self._prefix = counter_prefix(host, self._conf)
        self._local: LeakyBucket | None = None
        self._now = host.clock.monotonic
        if self._conf.policy == "local":
            self._local = LeakyBucket(machine_stores(host).marks)
        else:
            self._remote = RedisLeakyBucket(connection(host, self._conf))
            self._now = host.clock.time

    def access(self, ctx: Context) -> Reply | Awaitable[Reply]:
        key = self._prefix + (self._value(ctx) or ctx.request.client[0])
        if self._local is None:
            return self._ask(key)
        early_s = self._local.take(key, self._rate, self._burst, self._now())
        if early_s is None:
            return self._refusal
        if self._waits and early_s >= _SHORTEST_DELAY_S:
            return self._wait(early_s)
        return None

    async def _ask(self, key: str) -> Reply:
        try:
            early_s = await self._remote.take(key, self._rate, self._burst, self._now())
        except StoreError as error:
            logger.error("failed to limit req: %s", error)
            return None if self._conf.allow_degradation else error_page(500)
        if early_s is None:
            return self._refusal
        if self._waits and early_s >= _SHORTEST_DELAY_S:
            return await self._wait(early_s)
        return None

    async def _wait(self, seconds: float) -> Reply:
        await asyncio.sleep(seconds)
        return None
