"""Options the limit-* plugins share: which Redis keeps the numbers, how to refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from ..http.response import Response, error_page, json_reply
from ..model.base import Located
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
    """Its name or address."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """Its port."""


class RedisConf(PluginConf):
    """Where Redis is. Which fields count depends on ``policy``."""

    policy: Literal["local", "redis", "redis-cluster", "redis-sentinel"] = "local"
    """Where numbers are kept: in memory for this machine, or in Redis for all."""

    redis_host: Annotated[str, Field(min_length=2)] | None = None
    """Needed for ``redis``."""
    redis_port: Annotated[int, Field(ge=1, le=65535)] = 6379
    """For ``redis``."""
    redis_username: Annotated[str, Field(min_length=1)] | None = None
    """User to log in as."""
    redis_password: str | None = None
    """Password of the servers."""
    redis_database: Annotated[int, Field(ge=0)] = 0
    """For ``redis`` and ``redis-sentinel``."""
    redis_ssl: bool = False
    """Speak TLS, with ``redis``."""
    redis_ssl_verify: bool = False
    """Check the certificate."""
    redis_timeout: Annotated[int, Field(ge=1)] = 1000
    """Milliseconds to connect, and to wait for an answer."""
    redis_keepalive_timeout: Annotated[int, Field(ge=1)] | None = None
    """Milliseconds without a question after which the connections are closed: 10 000 (at least
    1000), with sentinels 60 000. No effect with a cluster."""
    redis_keepalive_pool: Annotated[int, Field(ge=1)] = 100
    """Most connections per worker, of a cluster per node. No effect with sentinels."""

    redis_cluster_nodes: (
        Annotated[list[Annotated[str, Field(min_length=2)]], Field(min_length=1)] | None
    ) = None
    """Needed for ``redis-cluster``: some of its nodes, as host:port."""
    redis_cluster_name: str | None = None
    """Needed for a cluster, as in APISIX, where it tells clusters apart. No effect here: the nodes
    do that."""
    redis_cluster_ssl: bool = False
    """Speak TLS, with ``redis-cluster``."""
    redis_cluster_ssl_verify: bool = False
    """Check the certificates."""

    redis_sentinels: Annotated[list[Sentinel], Field(min_length=1)] | None = None
    """Needed for ``redis-sentinel``."""
    redis_master_name: Annotated[str, Field(min_length=1)] | None = None
    """Needed for ``redis-sentinel``: what the sentinels call the master."""
    redis_role: Literal["master", "slave"] = "master"
    """Which server to ask, with ``redis-sentinel``."""
    redis_connect_timeout: Annotated[int, Field(ge=1)] = 1000
    """Milliseconds, with ``redis-sentinel``."""
    redis_read_timeout: Annotated[int, Field(ge=1)] = 1000
    """Milliseconds, with ``redis-sentinel``."""
    sentinel_username: str | None = None
    """User to log in to the sentinels as."""
    sentinel_password: str | None = None
    """Password of the sentinels."""

    @model_validator(mode="wrap")
    @classmethod
    def _of_the_policy(cls, document: JSON, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Judge only the fields of the policy, and tell what is wrong with them as APISIX does."""
        if not isinstance(document, dict):
            return handler(document)
        policy = document.get("policy")
        used = _FIELDS_OF.get(policy, frozenset()) if isinstance(policy, str) else frozenset()
        try:
            return handler({k: v for k, v in document.items() if k not in _FIELDS or k in used})
        except ValidationError as error:
            found = error.errors(include_url=False)
            others = [one for one in found if not one["loc"] or one["loc"][0] not in _FIELDS]
            if len(others) == len(found):
                raise
            if not others:
                raise Located(_fault(str(policy)), *found[0]["loc"]) from None
            raise ValidationError.from_exception_data(error.title, others) from None  # type: ignore[arg-type]  # what errors() gives

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        wrong = [name for name in _NEEDED.get(self.policy, ()) if getattr(self, name) is None]
        if self.policy != "redis-sentinel" and (self.redis_keepalive_timeout or 1000) < 1000:
            wrong.append("redis_keepalive_timeout")
        if wrong:
            raise Located(_fault(self.policy), wrong[0])
        return self


def _fault(policy: str) -> str:
    return "then clause did not match" if policy == "redis" else "else clause did not match"


_NEEDED: Final = {
    "redis": ("redis_host",),
    "redis-cluster": ("redis_cluster_nodes", "redis_cluster_name"),
    "redis-sentinel": ("redis_sentinels", "redis_master_name"),
}
_FIELDS: Final = frozenset(RedisConf.model_fields) - {"policy"}
_FIELDS_OF: Final = {
    "redis": frozenset(
        name
        for name in _FIELDS
        if name.startswith("redis_")
        and not name.startswith(("redis_cluster_", "redis_connect_", "redis_read_"))
        and name not in ("redis_sentinels", "redis_master_name", "redis_role")
    ),
    "redis-cluster": frozenset(
        name
        for name in _FIELDS
        if name.startswith(("redis_cluster_", "redis_keepalive_"))
        or name in ("redis_username", "redis_password", "redis_timeout")
    ),
    "redis-sentinel": _FIELDS,
}
"""The fields that count for a policy."""


class LimitConf(RedisConf):
    """What every limit-* plugin says about refusing and about failing."""

    rejected_code: Annotated[int, Field(ge=200, le=599)] = 503
    """Status of a refusal."""
    rejected_msg: Annotated[str, Field(min_length=1)] | None = None
    """Text of a refusal, in ``{"error_msg": …}``; unset: the error page."""
    allow_degradation: bool = False
    """Let requests pass when the numbers cannot be had."""

    def refusal(self) -> Response:
        """Build the answer for a request that is one too many."""
        if self.rejected_msg:
            return json_reply(self.rejected_code, {"error_msg": self.rejected_msg})
        return error_page(self.rejected_code)


SECRETS = ("redis_password", "sentinel_password")
"""Fields of RedisConf that are encrypted at rest."""
