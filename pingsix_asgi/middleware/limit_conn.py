"""Limit how many requests are under way at the same time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from random import getrandbits
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ..context import Context
from ..http.response import error_page
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..plugin.nested import skip_mark
from ..ratelimit.conf import SECRETS, Amount, AmountOrNone, LimitConf
from ..ratelimit.keys import Number, counter_prefix, key_needs_body, key_of, numbers_need_body
from ..ratelimit.machine import machine_stores
from ..ratelimit.redis import RedisConnections, connection
from ..ratelimit.store import StoreError

logger = logging.getLogger("pingsix_asgi.plugins.limit_conn")

_ACTED = skip_mark("limit-conn")
_SHORTEST_DELAY_S = 0.001
Held: TypeAlias = "list[tuple[str, str, _Rule, float]]"
"""Counters a request is in: (key, id under which Redis knows it, rule, when it may go on)."""


class RuleConf(PluginConf):
    """One of several limits."""

    conn: Amount
    """Requests at once; may be a template."""
    burst: AmountOrNone
    """Requests that may wait; may be a template."""
    key: str
    """Template of what is counted by; without a value the rule is skipped."""


class LimitConn(Plugin):
    """Let ``conn`` requests of a key run at once; up to ``burst`` more wait first.

    How long follows what requests take: after each, the delay is the mean of what it was and of the
    response time, in each worker. Source: apisix/plugins/limit-conn and lua-resty-limit-traffic.
    """

    name = "limit-conn"
    priority = 1003
    encrypted = SECRETS

    class Conf(LimitConf):
        conn: Amount | None = None
        """Requests at once; may be a template."""
        burst: AmountOrNone | None = None
        """Requests beyond ``conn`` that wait; may be a template."""
        default_conn_delay: Annotated[float, Field(gt=0)]
        """Seconds a request above ``conn`` waits at first for each full ``conn`` before it."""
        only_use_default_delay: bool = False
        """Let the delay stay what it is."""
        key: str = "remote_addr"
        """What is counted by. To be given, as in APISIX, unless there are ``rules``."""
        key_type: Literal["var", "var_combination"] = "var"
        """``key`` is a variable, or a template."""
        key_ttl: Annotated[int, Field(ge=1)] = 3600
        """Seconds after which Redis forgets a request that never ended."""
        rules: Annotated[list[RuleConf], Field(min_length=1)] | None = None
        """Several limits, in place of ``conn``, ``burst`` and ``key``."""

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

    reads_response = False

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._adapts = not conf.only_use_default_delay
        self._refusal = conf.refusal()
        delay_s = conf.default_conn_delay
        self._rules = [_Rule(rule, "var_combination", delay_s) for rule in conf.rules or ()]
        self.needs_body = (
            key_needs_body(conf.key_type, conf.key)
            or any(key_needs_body("var_combination", rule.key) for rule in conf.rules or ())
            or any(
                numbers_need_body(limit.conn, limit.burst) for limit in (conf, *(conf.rules or ()))
            )
        )
        if conf.rules is None:
            single = RuleConf(conn=conf.conn or 1, burst=conf.burst or 0, key=conf.key)
            self._rules = [_Rule(single, conf.key_type, delay_s, falls_back=True)]
        is_simple = conf.rules is None and conf.policy == "local"
        self._only = self._rules[0] if is_simple else None
        """The rule of an instance that has one and asks nobody; access then awaits nothing."""

    def setup(self, host: Host) -> None:
        self._prefix = counter_prefix(host, self._conf)
        self._clock = host.clock
        self._remote: RedisConnections | None = None
        if self._conf.policy == "local":
            self._gauges = machine_stores(host).gauges
        else:
            self._remote = RedisConnections(connection(host, self._conf), self._conf.key_ttl)

    def access(self, ctx: Context) -> Reply | Awaitable[Reply]:
        if ctx.state is not None and _ACTED in ctx.state:
            return None
        rule = self._only
        if rule is None or rule.fixed is None:
            return self._access_rules(ctx)
        most, burst = rule.fixed
        key = f"{self._prefix}0:{rule.value(ctx)}"
        now = self._clock.monotonic()
        count = self._gauges.enter(key, now)
        if count > most + burst:
            self._gauges.leave(key)
            return self._refusal
        if count <= most:
            ctx.note(self, [(key, "", rule, now)])
            return None
        return self._hold(ctx, rule, key, "", rule.delay_s(count, most))

    async def _access_rules(self, ctx: Context) -> Reply:
        applied = False
        for index, rule in enumerate(self._rules):
            value = rule.value(ctx)
            try:
                most, burst = rule.fixed or rule.limits(ctx)
            except ValueError as error:
                logger.error("failed to limit conn: %s", error)
                continue
            if value is None:
                continue
            applied = True
            key = f"{self._prefix}{index}:{value}"
            try:
                count, request_id = await self._enter(key, most + burst)
            except StoreError as error:
                logger.error("failed to limit conn: %s", error)
                return None if self._conf.allow_degradation else error_page(500)
            if count > most + burst:
                return self._refusal
            wait = self._hold(ctx, rule, key, request_id, rule.delay_s(count, most))
            if wait is not None:
                await wait
        return None if applied or self._conf.allow_degradation else error_page(500)

    def log(self, ctx: Context) -> None:
        held: Held = ctx.noted(self) or []
        for key, request_id, rule, since in held:
            if self._remote is None:
                self._gauges.leave(key)
            else:
                self._remote.leave(key, request_id)
            if self._adapts:
                rule.learn(_latency_s(ctx, self._clock.monotonic() - since))

    async def _enter(self, key: str, most: int) -> tuple[int, str]:
        """Count a request unless it is one too many; returns the count and the request's id."""
        if self._remote is None:
            count = self._gauges.enter(key, self._clock.monotonic())
            if count > most:
                self._gauges.leave(key)
            return count, ""
        request_id = f"{getrandbits(96):024x}"
        return await self._remote.enter(key, request_id, most, self._clock.time()), request_id

    def _hold(
        self, ctx: Context, rule: _Rule, key: str, request_id: str, delay_s: float
    ) -> Awaitable[None] | None:
        """Note that the request is in; returns what it is to wait for first."""
        entry = (key, request_id, rule, self._clock.monotonic() + delay_s)
        held: Held | None = ctx.noted(self)
        if held is None:
            ctx.note(self, [entry])
        else:
            held.append(entry)
        return asyncio.sleep(delay_s) if delay_s >= _SHORTEST_DELAY_S else None


def _latency_s(ctx: Context, seconds: float) -> float:
    """Return what the upstream took, or all the ``seconds`` since the request went on."""
    return ctx.upstream.response_s if ctx.upstream is not None else max(seconds, 0.0)


class _Rule:
    def __init__(
        self, conf: RuleConf, kind: str, delay_s: float, *, falls_back: bool = False
    ) -> None:
        self._delay_s = delay_s
        self.conn = Number(conf.conn)
        self.burst = Number(conf.burst)
        most, burst = self.conn.fixed, self.burst.fixed
        self.fixed = None if most is None or burst is None else (most, burst)
        """(conn, burst) when they do not depend on the request."""
        self._value = key_of(kind, conf.key)
        self._falls_back = falls_back

    def delay_s(self, count: int, most: int) -> float:
        """Return how long number ``count`` waits when ``most`` may run at once."""
        return self._delay_s * ((count - 1) // most) if count > most else 0.0

    def learn(self, latency_s: float) -> None:
        """Let the delay follow what requests take."""
        self._delay_s = (self._delay_s + latency_s) / 2

    def limits(self, ctx: Context) -> tuple[int, int]:
        """Return (conn, burst). Raises ValueError when variables do not give numbers."""
        return self.conn.whole(ctx), self.burst.whole(ctx, least=0)

    def value(self, ctx: Context) -> str | None:
        """Return what to count by; the client's address when the only rule has no value."""
        value = self._value(ctx)
        return ctx.request.client[0] if value is None and self._falls_back else value
