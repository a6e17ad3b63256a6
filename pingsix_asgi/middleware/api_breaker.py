"""Stop asking an upstream that keeps failing, for a time that doubles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cachetools import LRUCache
from pydantic import Field

from ..context import Context
from ..expr.template import Template
from ..http.response import Response, error_page
from ..model.fields import Unique
from ..plugin.base import Host, Plugin, PluginConf, Reply

_MAX_PATHS = 10_000
"""Host and path pairs remembered; the one not seen for longest is forgotten first."""


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


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    successes: int = 0
    tripped_at: float | None = None


class ApiBreaker(Plugin):
    """Answer ``break_response_code`` while the circuit of a host and path is open.

    The circuit opens for 2 s after ``failures`` failures, for twice as long after each further
    ``failures``, up to ``max_breaker_sec``. Source: apisix/plugins/api-breaker.lua.
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
        self._circuits: LRUCache[tuple[str, str], _Circuit] = host.keep(
            (self.name, host.owner), lambda: LRUCache(_MAX_PATHS)
        )

    def access(self, ctx: Context) -> Reply:
        circuit = self._circuits.get((ctx.request.host, ctx.request.path))
        if circuit is None or circuit.tripped_at is None:
            return None
        rounds = circuit.failures // self._conf.unhealthy.failures
        open_for = min(2 ** max(rounds, 1), self._conf.max_breaker_sec)
        if self._now() - circuit.tripped_at >= open_for:
            return None
        return self._refusal(ctx)

    def log(self, ctx: Context) -> None:
        if ctx.upstream is None or not ctx.upstream.status:
            return
        key = (ctx.request.host, ctx.request.path)
        if ctx.upstream.status in self._bad:
            self._failed(key)
        elif ctx.upstream.status in self._good:
            self._succeeded(key)

    def _failed(self, key: tuple[str, str]) -> None:
        circuit = self._circuits.setdefault(key, _Circuit())
        circuit.failures += 1
        circuit.successes = 0
        if circuit.failures % self._conf.unhealthy.failures == 0:
            circuit.tripped_at = self._now()

    def _succeeded(self, key: tuple[str, str]) -> None:
        circuit = self._circuits.get(key)
        if circuit is None:
            return
        circuit.successes += 1
        if circuit.successes >= self._conf.healthy.successes:
            del self._circuits[key]

    def _refusal(self, ctx: Context) -> Response:
        code, body = self._conf.break_response_code, self._conf.break_response_body
        if body is None:
            return error_page(code)
        headers = [(name, value.render(ctx).encode("latin-1")) for name, value in self._headers]
        return Response(code, body.encode(), headers)
