"""Allow so many requests in so much time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from functools import lru_cache
from typing import Annotated, Literal, Self, TypeAlias
from weakref import WeakKeyDictionary

from pydantic import Field, model_validator

from ..context import Context
from ..errors import SchemaError
from ..expr.response import RATE_LIMITING
from ..http.response import Response, error_page, json_reply
from ..plugin.base import Host, Phase, Plugin, PluginConf, Reply
from ..plugin.nested import skip_mark
from ..ratelimit.conf import SECRETS, Amount, LimitConf
from ..ratelimit.delayed import DelayedWindow
from ..ratelimit.keys import Number, counter_prefix, key_needs_body, key_of, numbers_need_body
from ..ratelimit.machine import machine_stores
from ..ratelimit.redis import RedisConnection, RedisFixedWindow, RedisSlidingWindow, connection
from ..ratelimit.store import StoreError
from ..ratelimit.windows import FixedWindow, SlidingWindow, Verdict

logger = logging.getLogger("pingsix_asgi.plugins.limit_count")

RESETS_REMEMBERED = 1024
"""Times until reset whose text is kept at hand."""
_TWO_WAYS = "{} and rules cannot be specified at the same time"
_ACTED = skip_mark("limit-count")
HeaderNames: TypeAlias = tuple[bytes, bytes, bytes]
Quota: TypeAlias = tuple[tuple[bytes, bytes], ...]


class RuleConf(PluginConf):
    """One of several limits."""

    count: Amount
    """Requests per window; may be a template."""
    time_window: Amount
    """Seconds; may be a template."""
    key: str
    """Template of what is counted by; without a value the rule is skipped."""
    header_prefix: str | None = None
    """Tells the headers of rules apart; unset: the rule's number, from 1."""


class LimitCount(Plugin):
    """Count requests by a key and refuse those above ``count`` per ``time_window`` seconds.

    ``policy`` local counts for all workers of a machine, the redis policies for all machines.
    Source: apisix/plugins/limit-count. ``key_type`` head and cookie, ``key_missing_policy`` and
    ``scope`` are PingSIX's.
    """

    name = "limit-count"
    priority = 1002
    encrypted = SECRETS

    class Conf(LimitConf):
        count: Amount | None = None
        """Requests per window; may be a template."""
        time_window: Amount | None = None
        """Seconds."""
        window_type: Literal["fixed", "sliding"] = "fixed"
        """A window starts with a key's first request, or slides."""
        key: str = "remote_addr"
        """What is counted by, as ``key_type`` says."""
        key_type: Literal["var", "var_combination", "constant", "vars", "head", "cookie"] = "var"
        """A variable, a template, a fixed text, or PingSIX's names of a variable (``vars``),
        header, cookie."""
        key_missing_policy: Literal["allow", "deny", "default"] | None = None
        """What to do with a request without key; unset: count it by the client's address."""
        rules: Annotated[list[RuleConf], Field(min_length=1)] | None = None
        """Several limits, in place of ``count`` and ``time_window``."""
        group: str | None = None
        """Members of a group share a counter."""
        show_limit_quota_header: bool = True
        """Send the X-RateLimit headers."""
        sync_interval: float = -1
        """Seconds between two reports to Redis; -1 asks Redis for every request."""
        scope: Literal["local"] = "local"
        """PingSIX's name of ``policy: local``."""

        @model_validator(mode="after")
        def _fits(self) -> Self:
            has_limit = self.count is not None and self.time_window is not None
            if self.rules is None and not has_limit:
                raise ValueError("value should match only one schema, but matches none")
            if self.rules is not None:
                if self.count is not None or self.time_window is not None:
                    raise ValueError(_TWO_WAYS.format("count/time_window"))
                if self.group is not None:
                    raise ValueError(_TWO_WAYS.format("group"))
            keys = [rule.key for rule in self.rules or ()]
            for index, key in enumerate(keys):
                if key in keys[:index]:
                    raise ValueError(f"duplicate key '{key}' in rules")
            self._check_sync()
            return self

        def _check_sync(self) -> None:
            if self.sync_interval == -1 or self.policy == "local":
                return
            if self.sync_interval < 0.1:
                raise ValueError("sync_interval should not be smaller than 0.1")
            if isinstance(self.time_window, int) and self.sync_interval >= self.time_window:
                raise ValueError("sync_interval should be smaller than time_window")

    class Metadata(PluginConf):
        limit_header: str = "X-RateLimit-Limit"
        """Name of the header with ``count``."""
        remaining_header: str = "X-RateLimit-Remaining"
        """Name of the header with what is left."""
        reset_header: str = "X-RateLimit-Reset"
        """Name of the header with the seconds until the window ends."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._show = conf.show_limit_quota_header
        self._degrades = conf.allow_degradation
        self._refusal = conf.refusal()
        self.needs_body = (
            key_needs_body(conf.key_type, conf.key)
            or any(key_needs_body("var_combination", rule.key) for rule in conf.rules or ())
            or any(
                numbers_need_body(limit.count, limit.time_window)
                for limit in (conf, *(conf.rules or ()))
            )
        )
        if not self._show:
            self.skips: frozenset[Phase] = frozenset({"header_filter"})

    def setup(self, host: Host) -> None:
        conf = self._conf
        if conf.group is not None:
            self._join(host, conf.group)
        prefix = counter_prefix(host, conf, conf.group)
        metadata = host.metadata()
        names = metadata if isinstance(metadata, self.Metadata) else self.Metadata()
        rules: list[RuleConf | None] = [*conf.rules] if conf.rules else [None]
        self._rules = [
            _Rule(conf, rule, index, prefix, names) for index, rule in enumerate(rules, 1)
        ]
        self._header_names = frozenset(name for rule in self._rules for name in rule.headers)
        self._only = self._rules[0] if conf.rules is None else None
        self._set_store(host)

    def _join(self, host: Host, group: str) -> None:
        """Become a member of a group. Raises SchemaError if another member has another conf."""
        members: WeakKeyDictionary[LimitCount, str] = host.keep(
            (self.name, "group", group), WeakKeyDictionary
        )
        for member, owner in list(members.items()):
            is_other = owner != host.owner and host.is_present(owner)  # gone ones may linger
            if is_other and member._conf != self._conf:
                raise SchemaError("group conf mismatched", path="group")
        members[self] = host.owner

    def _set_store(self, host: Host) -> None:
        conf = self._conf
        self._local: FixedWindow | SlidingWindow | None = None
        self._remote: RedisFixedWindow | RedisSlidingWindow | DelayedWindow
        is_sliding = conf.window_type == "sliding"
        self._now = host.clock.monotonic
        if conf.policy == "local":
            counters = machine_stores(host).counters
            self._local = SlidingWindow(counters) if is_sliding else FixedWindow(counters)
            return
        redis = connection(host, conf)
        if is_sliding:
            self._remote = RedisSlidingWindow(redis)
            self._now = host.clock.time  # machines must agree on where a window starts
            return
        window = self._remote = RedisFixedWindow(redis)
        if conf.sync_interval != -1:
            key = (self.name, "delayed", self._rules[0].prefix)
            self._remote = host.keep(key, lambda: _delayed(redis, window, conf, host))

    def access(self, ctx: Context) -> Reply | Awaitable[Reply]:
        if ctx.state is not None and _ACTED in ctx.state:
            return None
        rule = self._only
        if self._local is None or rule is None:
            return self._access_rules(ctx)
        try:
            limit, window_s = rule.fixed or rule.limit(ctx)
        except ValueError as error:
            return self._broken(error)
        key = rule.key(ctx)
        if key is None:
            return rule.without_key
        verdict = self._local.take(key, limit, window_s, self._now())
        return self._judge(ctx, rule, key, limit, verdict)

    async def _access_rules(self, ctx: Context) -> Reply:
        """Apply each rule that has its key; none at all is an error, and so is a bad number."""
        applied = False
        for rule in self._rules:
            key = rule.key(ctx)
            if key is None and self._only is None:
                continue
            try:
                limit, window_s = rule.limit(ctx)
            except ValueError as error:
                return self._broken(error)
            if key is None:
                return rule.without_key
            applied = True
            try:
                verdict = await self._take(key, limit, window_s)
            except StoreError as error:
                logger.error("failed to limit count: %s", error)
                if self._degrades:
                    return None
                return json_reply(500, {"error_msg": "failed to limit count"})
            reply = self._judge(ctx, rule, key, limit, verdict)
            if reply is not None:
                return reply
        return None if applied else self._broken(ValueError("no rule applies"))

    async def _take(self, key: str, limit: int, window_s: int) -> Verdict:
        now = self._now()
        if self._local is not None:
            return self._local.take(key, limit, window_s, now)
        return await self._remote.take(key, limit, window_s, now)

    def _judge(self, ctx: Context, rule: _Rule, key: str, limit: int, verdict: Verdict) -> Reply:
        left, reset_s = verdict
        remaining = left if left > 0 else 0
        reset, reset_line = rule.told(int(reset_s * 100 + 1e-6))
        state = ctx.state
        if state is None:
            state = ctx.state = {}
        state[RATE_LIMITING] = (key, limit, remaining, reset)
        if self._show:
            quota: Quota = (
                rule.limit_line or (rule.headers[0], b"%d" % limit),
                (rule.headers[1], b"%d" % remaining),
                reset_line,
            )
            state[self] = quota if self._only is not None else state.get(self, ()) + quota
        return None if left >= 0 else self._refusal

    def header_filter(self, ctx: Context) -> None:
        quota: Quota | None = ctx.noted(self)
        if quota is not None:
            ctx.response.headers.replace(self._header_names, quota)

    def _broken(self, error: ValueError) -> Response | None:
        logger.error("failed to get rate limit rules: %s", error)
        return None if self._degrades else error_page(500)


class _Rule:
    """One limit: how many, how long, by which key, told in which headers."""

    def __init__(
        self,
        conf: LimitCount.Conf,
        rule: RuleConf | None,
        index: int,
        prefix: str,
        names: LimitCount.Metadata,
    ) -> None:
        self._count = Number((rule or conf).count or 0)
        self._window = Number((rule or conf).time_window or 0)
        count, window_s = self._count.fixed, self._window.fixed
        self.fixed = None if count is None or window_s is None else (count, window_s)
        """(count, seconds) when they do not depend on the request."""
        self.prefix = prefix
        self._missing = conf.key_missing_policy if rule is None else "allow"
        self.without_key = (
            json_reply(400, {"error_msg": "Missing required key for rate limiting"})
            if self._missing == "deny"
            else None
        )
        headers = [names.limit_header, names.remaining_header, names.reset_header]
        if rule is None:
            self._value = key_of(conf.key_type, conf.key)
        else:
            self._value = key_of("var_combination", rule.key)
            tag = rule.header_prefix or str(index)
            headers = [_prefixed(header, tag) for header in headers]
            self.prefix = f"{prefix}{tag}:"
        limit, remaining, reset = (header.lower().encode("latin-1") for header in headers)
        self.headers: HeaderNames = (limit, remaining, reset)
        self.limit_line = None if count is None else (limit, b"%d" % count)
        self.told = lru_cache(RESETS_REMEMBERED)(self._tell)
        """``_tell``, remembered: requests that come together share their reset."""

    def limit(self, ctx: Context) -> tuple[int, int]:
        """Return (count, seconds). Raises ValueError when variables do not give numbers."""
        return self._count.whole(ctx), self._window.whole(ctx)

    def _tell(self, hundredths: int) -> tuple[int | float, tuple[bytes, bytes]]:
        """Return the seconds until reset, an integer where it is one, and the line that tells."""
        seconds = hundredths // 100 if hundredths % 100 == 0 else hundredths / 100
        return seconds, (self.headers[2], str(seconds).encode())

    def key(self, ctx: Context) -> str | None:
        """Return the counter's key; None when the request has none and is not to be counted."""
        value = self._value(ctx)
        if value is None:
            if self._missing in ("allow", "deny"):
                return None
            value = "" if self._missing == "default" else ctx.request.client[0]
        return self.prefix + value


def _delayed(
    redis: RedisConnection, window: RedisFixedWindow, conf: LimitCount.Conf, host: Host
) -> DelayedWindow:
    delayed = DelayedWindow(window, conf.sync_interval, host.clock)
    redis.before_close(delayed.stop)
    return delayed


def _prefixed(header: str, tag: str) -> str:
    """Put the tag of a rule into a header name: X-RateLimit-Limit, X-1-RateLimit-Limit."""
    return header.replace("RateLimit-", f"{tag}-RateLimit-", 1)
