"""Stop asking an upstream that keeps failing, for a time that doubles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ..context import Context
from ..expr.template import Template
from ..expr.variables import getter
from ..http.headers import Headers
from ..http.response import Response, error_page
from ..model.fields import Unique
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..ratelimit.circuit import Circuits
from ..ratelimit.machine import machine_stores
from ..ratelimit.ratio import Limits, RatioCircuit
from ..types import JSON

_URI = getter("uri")


class Header(PluginConf):
    """A header of the answer; the value may use variables."""

    key: Annotated[str, Field(min_length=1)]
    """Name."""
    value: Annotated[str, Field(min_length=1)]
    """Value, a template."""


class _Signs(PluginConf):
    @model_serializer(mode="wrap")
    def _without_what_is_not_given(self, write: SerializerFunctionWrapHandler) -> dict[str, JSON]:
        return {name: value for name, value in write(self).items() if value is not None}


class Unhealthy(_Signs):
    """What counts as failure."""

    http_statuses: Annotated[Unique[Annotated[int, Field(ge=500, le=599)]], Field(min_length=1)] = (
        500,
    )
    """Statuses of the upstream that count as failures."""
    failures: Annotated[int, Field(ge=1)] = 3
    """Failures that open the circuit."""
    error_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    """With unhealthy-ratio: the share of failures that opens the circuit, 0.5 by default."""
    min_request_threshold: Annotated[int, Field(ge=1)] | None = None
    """With unhealthy-ratio: with fewer requests in the window it stays closed, 10 by default."""
    sliding_window_size: Annotated[int, Field(ge=10, le=3600)] | None = None
    """With unhealthy-ratio: seconds, 300 by default."""
    half_open_max_calls: Annotated[int, Field(ge=1, le=20)] | None = None
    """With unhealthy-ratio: requests that probe a circuit that was open, 3 by default."""


class Healthy(_Signs):
    """What counts as recovery."""

    http_statuses: Annotated[Unique[Annotated[int, Field(ge=200, le=499)]], Field(min_length=1)] = (
        200,
    )
    """Statuses of the upstream that count as successes."""
    successes: Annotated[int, Field(ge=1)] = 3
    """Successes that close the circuit."""
    success_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    """With unhealthy-ratio: the share of probes that closes the circuit, 0.6 by default."""


class ApiBreaker(Plugin):
    """Answer ``break_response_code`` while the circuit of a host and path is open.

    The circuit opens for 2 s after ``failures`` failures, for twice as long after each further
    ``failures``, up to ``max_breaker_sec``. The workers of a machine share it, and so do routes
    that are asked by the same path. With ``policy: unhealthy-ratio`` a route has one circuit, which
    opens for ``max_breaker_sec`` when enough of its last answers failed, and closes after probes.
    Source: apisix/plugins/api-breaker.lua.
    """

    name = "api-breaker"
    priority = 1005

    class Conf(PluginConf):
        break_response_code: Annotated[int, Field(ge=200, le=599)]
        """Status while the circuit is open."""
        break_response_body: str | None = None
        """Body while the circuit is open; unset: the error page."""
        break_response_headers: list[Header] | None = None
        """Headers to send with ``break_response_body``."""
        max_breaker_sec: Annotated[int, Field(ge=3)] = 300
        """Longest time, in seconds, that a circuit stays open."""
        policy: Literal["unhealthy-count", "unhealthy-ratio"] | None = None
        """What opens a circuit: a number of failures, by default, or their share."""
        unhealthy: Unhealthy = Unhealthy()
        """What counts as failure."""
        healthy: Healthy = Healthy()
        """What counts as recovery."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._bad = frozenset(conf.unhealthy.http_statuses)
        self._good = frozenset(conf.healthy.http_statuses)
        self._headers = [
            (header.key.lower().encode("latin-1"), Template(header.value))
            for header in conf.break_response_headers or ()
        ]
        self.needs_body = any(template.needs_body for _, template in self._headers)

    def setup(self, host: Host) -> None:
        self._now = host.clock.monotonic
        stores = machine_stores(host)
        self._circuits = Circuits(stores.counters, stores.marks)
        self._ratio = None
        if self._conf.policy == "unhealthy-ratio":
            key = f"api-breaker {host.owner} {self._conf.model_dump_json()}"
            limits = _limits(self._conf)
            self._ratio = RatioCircuit(key, limits, stores.counters, stores.marks)

    def access(self, ctx: Context) -> Reply:
        now = self._now()
        if self._ratio is not None:
            return None if self._ratio.admits(now) else self._refusal(ctx)
        return self._refusal(ctx) if self._circuits.is_open(_key(ctx), now) else None

    def log(self, ctx: Context) -> None:
        status = ctx.upstream.status if ctx.upstream is not None else 0
        conf = self._conf
        if self._ratio is not None:
            if status:
                bad, good = status in self._bad, status in self._good
                self._ratio.answered(self._now(), is_failure=bad, is_success=good)
        elif status in self._bad:
            failures = conf.unhealthy.failures
            self._circuits.failed(_key(ctx), self._now(), failures, conf.max_breaker_sec)
        elif status in self._good:
            self._circuits.succeeded(_key(ctx), self._now(), conf.healthy.successes)

    def _refusal(self, ctx: Context) -> Response:
        code, body = self._conf.break_response_code, self._conf.break_response_body
        if body is None:
            return error_page(code)
        headers = Headers([])
        for name, value in self._headers:
            write = headers.set if name == b"content-type" else headers.append
            write(name, value.render(ctx).encode("latin-1"))
        return Response(code, body.encode(), headers.raw)


def _limits(conf: ApiBreaker.Conf) -> Limits:
    unhealthy, healthy = conf.unhealthy, conf.healthy
    return Limits(
        open_s=conf.max_breaker_sec,
        error_ratio=_or(unhealthy.error_ratio, 0.5),
        min_requests=unhealthy.min_request_threshold or 10,
        window_s=unhealthy.sliding_window_size or 300,
        probes=unhealthy.half_open_max_calls or 3,
        success_ratio=_or(healthy.success_ratio, 0.6),
    )


def _or(ratio: float | None, default: float) -> float:
    return default if ratio is None else ratio


def _key(ctx: Context) -> str:
    return f"api-breaker:{ctx.request.host}{_URI(ctx)}"
