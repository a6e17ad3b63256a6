"""Stop asking an upstream that keeps failing, for a time that doubles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..context import Context
from ..expr.template import Template
from ..expr.variables import getter
from ..http.headers import Headers
from ..http.response import Response, error_page
from ..model.fields import Unique
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..ratelimit.circuit import Circuits
from ..ratelimit.machine import machine_stores

_URI = getter("uri")


class Header(PluginConf):
    """A header of the answer; the value may use variables."""

    key: Annotated[str, Field(min_length=1)]
    value: Annotated[str, Field(min_length=1)]


class Unhealthy(PluginConf):
    """What counts as failure."""

    http_statuses: Annotated[Unique[Annotated[int, Field(ge=500, le=599)]], Field(min_length=1)] = (
        500,
    )
    failures: Annotated[int, Field(ge=1)] = 3


class Healthy(PluginConf):
    """What counts as recovery."""

    http_statuses: Annotated[Unique[Annotated[int, Field(ge=200, le=499)]], Field(min_length=1)] = (
        200,
    )
    successes: Annotated[int, Field(ge=1)] = 3


class ApiBreaker(Plugin):
    """Answer ``break_response_code`` while the circuit of a host and path is open.

    The circuit opens for 2 s after ``failures`` failures, for twice as long after each further
    ``failures``, up to ``max_breaker_sec``. The workers of a machine share it, and so do routes
    that are asked by the same path.
    Source: apisix/plugins/api-breaker.lua.
    """

    name = "api-breaker"
    priority = 1005

    class Conf(PluginConf):
        break_response_code: Annotated[int, Field(ge=200, le=599)]
        break_response_body: str | None = None
        break_response_headers: list[Header] | None = None
        max_breaker_sec: Annotated[int, Field(ge=3)] = 300
        unhealthy: Unhealthy = Unhealthy()
        healthy: Healthy = Healthy()

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._bad = frozenset(conf.unhealthy.http_statuses)
        self._good = frozenset(conf.healthy.http_statuses)
        self._headers = [
            (header.key.lower().encode("latin-1"), Template(header.value))
            for header in conf.break_response_headers or ()
        ]

    def setup(self, host: Host) -> None:
        self._now = host.clock.monotonic
        stores = machine_stores(host)
        self._circuits = Circuits(stores.counters, stores.marks)

    def access(self, ctx: Context) -> Reply:
        return self._refusal(ctx) if self._circuits.is_open(_key(ctx), self._now()) else None

    def log(self, ctx: Context) -> None:
        status = ctx.upstream.status if ctx.upstream is not None else 0
        conf = self._conf
        if status in self._bad:
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


def _key(ctx: Context) -> str:
    return f"api-breaker:{ctx.request.host}{_URI(ctx)}"
