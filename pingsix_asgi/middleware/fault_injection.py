"""Delay or abort a share of the requests, to see how clients take it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

from pydantic import Field

from ..context import Context
from ..errors import SchemaError
from ..expr.expression import compile_expression
from ..expr.template import Template
from ..expr.variables import needs_body
from ..http.headers import Headers
from ..http.response import TEXT_PLAIN, Response, error_page
from ..plugin.base import Plugin, PluginConf, Reply
from ..types import JSON

Percentage: TypeAlias = Annotated[int, Field(ge=0, le=100)]
Conditions: TypeAlias = Annotated[list[JSON], Field(max_length=20)]
Predicate: TypeAlias = Callable[[Context], bool]


class Abort(PluginConf):
    """What to answer in place of the target."""

    http_status: Annotated[int, Field(ge=200)]
    """Status."""
    body: str | None = None
    """Body, a template; unset: the error page."""
    headers: Annotated[dict[str, str | int | float | bool], Field(min_length=1)] | None = None
    """Headers to send; values are templates."""
    percentage: Percentage | None = None
    """Share of the requests; unset: all."""
    vars: Conditions | None = None
    """Alternatives, expressions of which one must hold."""


class Delay(PluginConf):
    """How long to hold a request."""

    duration: Annotated[float, Field(ge=0)]
    """Seconds."""
    percentage: Percentage | None = None
    """Share of the requests; unset: all."""
    vars: Conditions | None = None
    """Alternatives, expressions of which one must hold."""


class FaultInjection(Plugin):
    """Hold a request for a time, answer it with a fixed reply, or both, in that order.

    Each has its own conditions (``vars``: alternatives, one must match) and its own random draw.
    Source: apisix/plugins/fault-injection.lua.
    """

    name = "fault-injection"
    priority = 11000

    class Conf(PluginConf):
        abort: Abort | None = None
        """What to answer. This or ``delay`` is required."""
        delay: Delay | None = None
        """How long to hold requests, before the answer if both are given."""

    def __init__(self, conf: Conf) -> None:
        if conf.abort is None and conf.delay is None:
            raise SchemaError("expect object to have at least 1 properties")
        self._delay, self._abort = conf.delay, conf.abort
        self._delay_if = _any_of(conf.delay.vars, "delay.vars") if conf.delay else None
        self._abort_if = _any_of(conf.abort.vars, "abort.vars") if conf.abort else None
        self._reply = _Reply(conf.abort) if conf.abort else None
        self.needs_body = any(
            needs_body(condition)
            for part in (conf.abort, conf.delay)
            if part is not None
            for condition in part.vars or ()
        ) or (self._reply is not None and self._reply.needs_body)

    def rewrite(self, ctx: Context) -> Reply | Awaitable[Reply]:
        delay = self._delay
        if delay is not None and _hit(delay.percentage) and _holds(self._delay_if, ctx):
            return self._answer_late(ctx, delay.duration)
        return self._answer(ctx)

    async def _answer_late(self, ctx: Context, seconds: float) -> Reply:
        await asyncio.sleep(seconds)
        return self._answer(ctx)

    def _answer(self, ctx: Context) -> Reply:
        if self._abort is None or self._reply is None:
            return None
        if _hit(self._abort.percentage) and _holds(self._abort_if, ctx):
            return self._reply.render(ctx)
        return None


class _Reply:
    """The reply of an abort, rendered once when nothing in it depends on the request."""

    def __init__(self, abort: Abort) -> None:
        self._status = abort.http_status
        self._body = Template(abort.body) if abort.body else None
        self._headers = [
            (name.lower().encode("latin-1"), Template(_text(value)))
            for name, value in (abort.headers or {}).items()
        ]
        templates = [template for _, template in self._headers]
        templates += [self._body] if self._body else []
        self.needs_body = any(template.needs_body for template in templates)

    def render(self, ctx: Context) -> Response:
        if self._body is None:
            page = error_page(self._status)
            headers, body = Headers(page.headers), page.body
        else:
            headers, body = (
                Headers([TEXT_PLAIN]),
                self._body.render(ctx).encode("utf-8", "surrogateescape"),
            )
        for name, template in self._headers:
            headers.set(name, template.render(ctx).encode("utf-8", "surrogateescape"))
        return Response(self._status, body, headers.raw)


def _text(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _hit(percentage: int | None) -> bool:
    return percentage is None or random.randint(1, 100) <= percentage


def _holds(predicate: Predicate | None, ctx: Context) -> bool:
    return predicate is None or predicate(ctx)


def _any_of(conditions: list[JSON] | None, path: str) -> Predicate | None:
    if not conditions:
        return None
    predicates = []
    for index, condition in enumerate(conditions):
        try:
            predicates.append(compile_expression(condition))
        except ValueError as error:
            raise SchemaError(str(error), path=f"{path}.{index}") from None
    if len(predicates) == 1:
        return predicates[0]
    return lambda ctx: any(predicate(ctx) for predicate in predicates)
