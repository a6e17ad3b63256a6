"""The algorithms as scripts that Redis runs atomically (extra ``pingsix-asgi[redis]``)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from importlib import import_module
from importlib.resources import files
from typing import Any, Final

from ..errors import SchemaError
from ..plugin.base import Host
from .conf import RedisConf
from .store import StoreError
from .windows import Verdict, estimate

logger = logging.getLogger("pingsix_asgi.ratelimit")

_SCRIPTS: Final = files("pingsix_asgi.ratelimit") / "scripts"


class Script:
    """One Lua file. It is sent once per server, and called by its hash from then on."""

    def __init__(self, name: str) -> None:
        self._text = (_SCRIPTS / f"{name}.lua").read_text()
        self._hash = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: RedisConnection, keys: list[str], *args: object) -> Any:
        """Run it. Raises StoreError when Redis does not answer, or not in time."""
        redis.used()
        try:
            try:
                return await redis.client.evalsha(self._hash, len(keys), *keys, *args)
            except redis.no_script:
                return await redis.client.eval(self._text, len(keys), *keys, *args)
        except redis.failures as error:
            raise StoreError(f"redis: {error}") from error


class RedisConnection:
    """A client with its pool; connections are made when they are first needed."""

    def __init__(self, conf: RedisConf) -> None:
        try:
            self._library: Any = import_module("redis.asyncio")
            errors: Any = import_module("redis.exceptions")
        except ImportError:
            raise SchemaError(
                f"policy {conf.policy} needs the extra: pip install pingsix-asgi[redis]",
                path="policy",
            ) from None
        self.no_script: type[Exception] = errors.NoScriptError
        self.failures: tuple[type[Exception], ...] = (
            errors.RedisError,
            errors.RedisClusterException,
            OSError,
            TimeoutError,
        )
        self._sentinel: Any = None
        self._idle: _Idle | None = None
        self._finishers: list[Callable[[], Awaitable[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        make = {"redis": self._single, "redis-cluster": self._cluster}
        self.client: Any = make.get(conf.policy, self._sentinels)(conf)
        if conf.policy != "redis-cluster":
            default_ms = 10_000 if conf.policy == "redis" else 60_000
            timeout_s = (conf.redis_keepalive_timeout or default_ms) / 1000
            self._idle = _Idle(self.client.connection_pool, timeout_s, self.background)

    def used(self) -> None:
        """Note that there is something to ask: the connections stay open."""
        if self._idle is not None:
            self._idle.put_off()

    def before_close(self, finish: Callable[[], Awaitable[None]]) -> None:
        """Have ``finish`` awaited while the connections are still there."""
        self._finishers.append(finish)

    def background(self, work: Coroutine[None, None, None]) -> None:
        """Run ``work`` beside the request; it is waited for before the connections close."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Finish what is under way, then close every connection."""
        for finish in self._finishers:
            await finish()
        if self._idle is not None:
            self._idle.stop()
        await asyncio.gather(*self._tasks)
        await self.client.aclose()
        if self._sentinel is not None:
            for sentinel in self._sentinel.sentinels:
                await sentinel.aclose()

    def _single(self, conf: RedisConf) -> Any:
        timeout_s = conf.redis_timeout / 1000
        options: dict[str, Any] = {}
        if conf.redis_ssl:
            options["connection_class"] = self._library.SSLConnection
            options["ssl_cert_reqs"] = "required" if conf.redis_ssl_verify else "none"
            options["ssl_check_hostname"] = conf.redis_ssl_verify
        pool = self._library.BlockingConnectionPool(
            host=conf.redis_host,
            port=conf.redis_port,
            username=conf.redis_username,
            password=conf.redis_password,
            db=conf.redis_database,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            max_connections=conf.redis_keepalive_pool,
            timeout=timeout_s,
            **options,
        )
        return self._library.Redis.from_pool(pool)

    def _cluster(self, conf: RedisConf) -> Any:
        cluster: Any = import_module("redis.asyncio.cluster")
        timeout_s = conf.redis_timeout / 1000
        nodes = []
        for address in conf.redis_cluster_nodes or ():
            host, _, port = address.rpartition(":")
            nodes.append(cluster.ClusterNode(host.strip("[]"), int(port)))
        options: dict[str, Any] = {}
        if conf.redis_cluster_ssl:
            options["ssl"] = True
            options["ssl_cert_reqs"] = "required" if conf.redis_cluster_ssl_verify else "none"
            options["ssl_check_hostname"] = conf.redis_cluster_ssl_verify
        return cluster.RedisCluster(
            startup_nodes=nodes,
            username=conf.redis_username,
            password=conf.redis_password,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            max_connections=conf.redis_keepalive_pool,
            **options,
        )

    def _sentinels(self, conf: RedisConf) -> Any:
        library: Any = import_module("redis.asyncio.sentinel")
        times = {
            "socket_timeout": conf.redis_read_timeout / 1000,
            "socket_connect_timeout": conf.redis_connect_timeout / 1000,
        }
        self._sentinel = library.Sentinel(
            [(one.host, one.port) for one in conf.redis_sentinels or ()],
            sentinel_kwargs={
                **times,
                "username": conf.sentinel_username,
                "password": conf.sentinel_password,
            },
            username=conf.redis_username,
            password=conf.redis_password,
            db=conf.redis_database,
            **times,
        )
        find = (
            self._sentinel.master_for if conf.redis_role == "master" else self._sentinel.slave_for
        )
        return find(conf.redis_master_name)


class _Idle:
    """Closes the connections of a pool when nobody has used it for some time."""

    def __init__(
        self,
        pool: Any,
        timeout_s: float,
        background: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._background = background
        self._used_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def put_off(self) -> None:
        """Begin to wait anew."""
        loop = asyncio.get_running_loop()
        self._used_at = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._timeout_s, self._look, loop)

    def stop(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        rest_s = self._used_at + self._timeout_s - loop.time()
        if rest_s > 0:
            self._timer = loop.call_later(rest_s, self._look, loop)
            return
        self._timer = None
        self._background(self._pool.disconnect(inuse_connections=False))


def connection(host: Host, conf: RedisConf) -> RedisConnection:
    """Return the gateway's connection for these options; plugins with equal options share it."""
    options = conf.model_dump_json(include=set(RedisConf.model_fields))
    return host.keep(("redis", options), lambda: RedisConnection(conf))


class RedisFixedWindow:
    """As windows.FixedWindow, counted by Redis."""

    def __init__(self, redis: RedisConnection) -> None:
        self._redis = redis
        self._script = Script("fixed_window")

    async def take(self, key: str, limit: int, window_s: int, now: float, cost: int = 1) -> Verdict:
        name = f"plugin-limit-count:v1:{key}"
        count, left_ms = await self._script.run(self._redis, [name], cost, window_s)
        return limit - int(count), int(left_ms) / 1000


class RedisSlidingWindow:
    """As windows.SlidingWindow, counted by Redis. Windows follow this machine's wall clock."""

    def __init__(self, redis: RedisConnection) -> None:
        self._redis = redis
        self._script = Script("sliding_window")

    async def take(self, key: str, limit: int, window_s: int, now: float, cost: int = 1) -> Verdict:
        number = int(now // window_s)
        left_s = (number + 1) * window_s - now
        # the braces make both keys live on one node of a cluster
        names = [f"plugin-limit-count:{{{key}}}.{one}.counter" for one in (number, number - 1)]
        before, current, counted = await self._script.run(
            self._redis, names, limit, cost, window_s, left_s
        )
        remaining, reset_s = estimate(int(before), int(current), limit, window_s, left_s, cost)
        return (max(remaining, 0), left_s) if counted else (-1, reset_s)


class RedisLeakyBucket:
    """As leaky.LeakyBucket, kept by Redis."""

    def __init__(self, redis: RedisConnection) -> None:
        self._redis = redis
        self._script = Script("leaky_bucket")

    async def take(self, key: str, rate: float, burst: float, now: float) -> float | None:
        excess = await self._script.run(
            self._redis, [f"limit_req:{key}"], rate, burst, int(now * 1000)
        )
        return None if int(excess) < 0 else int(excess) / 1000 / rate


class RedisConnections:
    """Requests under way, by their id, in one sorted set per key."""

    def __init__(self, redis: RedisConnection, key_ttl_s: int) -> None:
        self._redis = redis
        self._script = Script("connections")
        self._ttl_s = key_ttl_s

    async def enter(self, key: str, request_id: str, most: int, now: float) -> int:
        """Count one more; returns how many there are with it. Above ``most`` it is not counted."""
        name = f"limit_conn:{key}"
        count = await self._script.run(self._redis, [name], request_id, now, self._ttl_s, most)
        return int(count)

    def leave(self, key: str, request_id: str) -> None:
        """Count one less, soon; a request that Redis cannot be told of expires."""
        self._redis.background(self._remove(key, request_id))

    async def _remove(self, key: str, request_id: str) -> None:
        try:
            await self._redis.client.zrem(f"limit_conn:{key}", request_id)
        except self._redis.failures as error:
            logger.error("a request stays counted until it expires: %s", error)
