"""Options the limit-* plugins share: which Redis keeps the numbers, how to refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from ..http.response import Response, error_page, json_reply
from ..plugin.base import PluginConf
from ..types import JSON


def _whole_or_text(least: int) -> Callable[[JSON], JSON]:
    def check(value: JSON) -> JSON:
        is_whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not is_whole and not isinstance(value, str):
            raise ValueError("value should match only one schema, but matches none")
        return value

    return check


Amount: TypeAlias = Annotated[int | str, BeforeValidator(_whole_or_text(1))]
"""An integer of at least 1, or a text of variables that gives one."""
AmountOrNone: TypeAlias = Annotated[int | str, BeforeValidator(_whole_or_text(0))]
"""As Amount, and 0."""


class Sentinel(PluginConf):
    """Address of one Redis Sentinel."""

    host: Annotated[str, Field(min_length=2)]
    port: Annotated[int, Field(ge=1, le=65535)]


class RedisConf(PluginConf):
    """Where Redis is. Which fields count depends on ``policy``."""

    policy: Literal["local", "redis", "redis-cluster", "redis-sentinel"] = "local"

    redis_host: Annotated[str, Field(min_length=2)] | None = None
    redis_port: Annotated[int, Field(ge=1, le=65535)] = 6379
    redis_username: Annotated[str, Field(min_length=1)] | None = None
    redis_password: str | None = None
    redis_database: Annotated[int, Field(ge=0)] = 0
    redis_ssl: bool = False
    redis_ssl_verify: bool = False
    redis_timeout: Annotated[int, Field(ge=1)] = 1000
    """Milliseconds to connect, and to wait for an answer."""
    redis_keepalive_timeout: Annotated[int, Field(ge=1000)] | None = None
    """Milliseconds an idle connection is kept: 10 000, with sentinels 60 000."""
    redis_keepalive_pool: Annotated[int, Field(ge=1)] = 100
    """Most connections per worker."""

    redis_cluster_nodes: (
        Annotated[list[Annotated[str, Field(min_length=2)]], Field(min_length=1)] | None
    ) = None
    redis_cluster_name: str | None = None
    redis_cluster_ssl: bool = False
    redis_cluster_ssl_verify: bool = False

    redis_sentinels: Annotated[list[Sentinel], Field(min_length=1)] | None = None
    redis_master_name: Annotated[str, Field(min_length=1)] | None = None
    redis_role: Literal["master", "slave"] = "master"
    redis_connect_timeout: Annotated[int, Field(ge=1)] = 1000
    redis_read_timeout: Annotated[int, Field(ge=1)] = 1000
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if self.policy == "redis" and self.redis_host is None:
            raise ValueError("then clause did not match")
        if self.policy == "redis-cluster" and not (
            self.redis_cluster_nodes and self.redis_cluster_name
        ):
            raise ValueError("else clause did not match")
        if self.policy == "redis-sentinel" and not (
            self.redis_sentinels and self.redis_master_name
        ):
            raise ValueError("else clause did not match")
        return self


class LimitConf(RedisConf):
    """What every limit-* plugin says about refusing and about failing."""

    rejected_code: Annotated[int, Field(ge=200, le=599)] = 503
    rejected_msg: Annotated[str, Field(min_length=1)] | None = None
    allow_degradation: bool = False
    """Let requests pass when the numbers cannot be had."""

    def refusal(self) -> Response:
        """Build the answer for a request that is one too many."""
        if self.rejected_msg:
            return json_reply(self.rejected_code, {"error_msg": self.rejected_msg})
        return error_page(self.rejected_code)


SECRETS = ("redis_password", "sentinel_password")
"""Fields of RedisConf that are encrypted at rest."""
