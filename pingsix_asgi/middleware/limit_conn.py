"""Limit how many requests are under way at the same time."""

from __future__ import annotations

import asyncio
import logging
import math
from random import getrandbits
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ..context import Context
from ..http.response import error_page
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..ratelimit.conf import SECRETS, Amount, AmountOrNone, LimitConf
from ..ratelimit.keys import Number, counter_prefix, key_needs_body, key_of
from ..ratelimit.machine import machine_stores
from ..ratelimit.redis import RedisConnections, connection
from ..ratelimit.store import StoreError

logger = logging.getLogger("pingsix_asgi.plugins.limit_conn")

Held: TypeAlias = list[tuple[str, str]]
"""Counters a request is in: (key, id under which Redis knows it)."""


class RuleConf(PluginConf):
    """One of several limits."""

    conn: Amount
    burst: AmountOrNone
    key: str


class LimitConn(Plugin):
    """Let ``conn`` requests of a key run at once; up to ``burst`` more wait first.

    Source: apisix/plugins/limit-conn.
    """

    name = "limit-conn"
    priority = 1003
    encrypted = SECRETS

    class Conf(LimitConf):
        conn: Amount | None = None
        burst: AmountOrNone | None = None
        default_conn_delay: Annotated[float, Field(gt=0)]
        """Seconds a request above ``conn`` waits for each full ``conn`` before it."""
        only_use_default_delay: bool = False
        key: str = "remote_addr"
        key_type: Literal["var", "var_combination"] = "var"
        key_ttl: Annotated[int, Field(ge=1)] = 3600
        """Seconds after which Redis forgets a request that never ended."""
        rules: Annotated[list[RuleConf], Field(min_length=1)] | None = None

        @model_validator(mode="after")
        def _limit_or_rules(self) -> Self:
            has_limit = self.conn is not None and self.burst is not None
            if self.rules is None and not (has_limit and "key" in self.model_fields_set):
                raise ValueError("value should match only one schema, but matches none")
            if self.rules is not None and has_limit:
                raise ValueError(
                    "value should match only one schema, but matches both schemas 1 and 2"
                )
            return self

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._delay_s = conf.default_conn_delay
        self._refusal = conf.refusal()
        self._rules = [_Rule(rule, "var_combination") for rule in conf.rules or ()]
        self.needs_body = key_needs_body(conf.key_type, conf.key) or any(
            key_needs_body("var_combination", rule.key) for rule in conf.rules or ()
        )
        if conf.rules is None:
            single = RuleConf(conn=conf.conn or 1, burst=conf.burst or 0, key=conf.key)
            self._rules = [_Rule(single, conf.key_type, falls_back=True)]

    def setup(self, host: Host) -> None:
        self._prefix = counter_prefix(host, self._conf)
        self._clock = host.clock
        self._remote: RedisConnections | None = None
        if self._conf.policy == "local":
            self._gauges = machine_stores(host).gauges
        else:
            self._remote = RedisConnections(connection(host, self._conf), self._conf.key_ttl)

    async def access(self, ctx: Context) -> Reply:
        applied = False
        for index, rule in enumerate(self._rules):
            value = rule.value(ctx)
            try:
                most, burst = rule.conn.whole(ctx), rule.burst.whole(ctx, least=0)
            except ValueError as error:
                logger.error("failed to limit conn: %s", error)
                continue
            if value is None:
                continue
            applied = True
            try:
                count = await self._enter(ctx, f"{self._prefix}{index}:{value}", most + burst)
            except StoreError as error:
                logger.error("failed to limit conn: %s", error)
                return None if self._conf.allow_degradation else error_page(500)
            if count > most + burst:
                return self._refusal
            if count > most:
                await asyncio.sleep(self._delay_s * math.floor((count - 1) / most))
        return None if applied or self._conf.allow_degradation else error_page(500)

    def log(self, ctx: Context) -> None:
        held: Held = ctx.noted(self) or []
        for key, request_id in held:
            if self._remote is None:
                self._gauges.leave(key)
            else:
                self._remote.leave(key, request_id)

    async def _enter(self, ctx: Context, key: str, most: int) -> int:
        """Count the request under ``key`` unless it is one too many; returns the count with it."""
        request_id = ""
        if self._remote is None:
            count = self._gauges.enter(key, self._clock.monotonic())
            if count > most:
                self._gauges.leave(key)
        else:
            request_id = f"{getrandbits(96):024x}"
            count = await self._remote.enter(key, request_id, most, self._clock.time())
        if count <= most:
            held: Held = ctx.noted(self) or []
            held.append((key, request_id))
            ctx.note(self, held)
        return count


class _Rule:
    def __init__(self, conf: RuleConf, kind: str, *, falls_back: bool = False) -> None:
        self.conn = Number(conf.conn)
        self.burst = Number(conf.burst)
        self._value = key_of(kind, conf.key)
        self._falls_back = falls_back

    def value(self, ctx: Context) -> str | None:
        """Return what to count by; the client's address when the only rule has no value."""
        value = self._value(ctx)
        return ctx.request.client[0] if value is None and self._falls_back else value
