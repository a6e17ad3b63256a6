"""``_meta``: what a conf says about running its plugin, resolved at build.

A hook without filter, error_response or fail is used as it is; the others get one wrapper each.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator

from ..context import CONTEXT_KEY, Context
from ..errors import RequestError, SchemaError
from ..expr.expression import compile_expression
from ..expr.variables import needs_body
from ..http.response import TEXT_HTML, TEXT_PLAIN, Response, json_reply
from ..model.base import Model, problems
from ..model.fields import Lua
from ..types import JSON, ASGIApp, RawHeaders, Receive, Scope, Send
from .base import Phase, Plugin, Reply

logger = logging.getLogger("pingsix_asgi.plugin")

Hook: TypeAlias = Callable[..., Any]

FILTER_FAULT = "failed to validate the 'vars' expression"
FILTER_PATH = "_meta.filter"
"""How a filter that is no expression is told, without naming the plugin."""


def _text_or_object(value: JSON) -> JSON:
    if value is not None and not isinstance(value, str | dict):
        raise ValueError("value should match only one schema, but matches none")
    return value


class Meta(Model):
    """The ``_meta`` object of a plugin conf.

    ``priority`` None is the class's. ``fail: open`` passes over a request hook that raises; the
    default answers 500. Source: apisix/schema_def.lua (plugin_injected_schema). Differs: ``fail``
    is ours; ``pre_function`` is refused.
    """

    disable: bool = False
    priority: int | None = None
    filter: list[Any] | None = None
    error_response: Annotated[str | dict[str, Any] | None, BeforeValidator(_text_or_object)] = None
    fail: Literal["open", "closed"] = "closed"
    pre_function: Lua = None


def split_meta(conf: JSON) -> tuple[JSON, Meta | list[SchemaError]]:
    """Take ``_meta`` out of a conf: it, or its problems, whose paths start at the conf."""
    if not isinstance(conf, dict) or "_meta" not in conf:
        return conf, _NO_META
    options = {key: value for key, value in conf.items() if key != "_meta"}
    found = problems(Meta, conf["_meta"], at="_meta")
    if not isinstance(found, list):
        return options, found
    lead = 'property "_meta" validation failed: '
    return options, [SchemaError(lead + error.message, path=error.path) for error in found]


_NO_META = Meta()


class Decorator:
    """Wraps the hooks of one plugin in one place as its ``_meta`` says."""

    def __init__(self, plugin: type[Plugin], meta: Meta) -> None:
        self._name = plugin.name
        self._fail_open = meta.fail == "open"
        self._error_response = meta.error_response
        self._predicate: Callable[[Context], bool] | None = None
        self.needs_body = needs_body(meta.filter)
        if meta.filter is not None:
            try:
                self._predicate = compile_expression(meta.filter)
            except ValueError as error:
                raise SchemaError(f"{FILTER_FAULT}: {error}", path=FILTER_PATH) from None

    def __call__(self, phase: Phase | Literal["wrap"], hook: Hook) -> Hook:
        """Return the hook to run in ``phase`` instead of ``hook``."""
        match phase:
            case "rewrite" | "access" | "before_proxy":
                return self._request_hook(phase, hook)
            case "body_filter" | "delayed_body_filter":
                return self._body_hook(hook)
            case "wrap":
                return self._wrap_hook(hook)
        return self._response_hook(hook)

    def _applies(self, ctx: Context) -> bool:
        """Evaluate the filter once per request, at the plugin's first phase.

        An evaluation that fails lets the plugin run. Source: apisix/plugin.lua (meta_filter).
        """
        if self._predicate is None:
            return True
        known: bool | None = ctx.noted(self)
        if known is None:
            try:
                known = self._predicate(ctx)
            except (ValueError, TypeError, LookupError):
                logger.warning("_meta.filter of %s failed: it runs", self._name, exc_info=True)
                known = True
            ctx.note(self, known)
        return known

    def _request_hook(self, phase: str, hook: Hook) -> Hook:
        @wraps(hook)
        async def run(ctx: Context) -> Reply:
            if self.needs_body:
                await ctx.preload_body()
            if not self._applies(ctx):
                return None
            try:
                reply: Reply | Awaitable[Reply] = hook(ctx)
                if inspect.isawaitable(reply):
                    reply = await reply
            except RequestError:
                raise
            except Exception:
                if not self._fail_open:
                    raise
                logger.exception("plugin %s failed in %s and was passed over", self._name, phase)
                return None
            return self._reworded(reply)

        return run

    def _reworded(self, reply: Reply) -> Reply:
        """Replace the body of a refusal by ``error_response``; status and headers stay."""
        if reply is None or reply.status < 400 or self._error_response is None:
            return reply
        headers: RawHeaders = [pair for pair in reply.headers if pair not in _OWN_TYPES]
        if isinstance(self._error_response, dict):
            return json_reply(reply.status, self._error_response, headers)
        return Response(reply.status, self._error_response.encode(), [TEXT_PLAIN, *headers])

    def _response_hook(self, hook: Hook) -> Hook:
        @wraps(hook)
        def run(ctx: Context) -> None:
            if self._applies(ctx):
                hook(ctx)

        return run

    def _body_hook(self, hook: Hook) -> Hook:
        @wraps(hook)
        def run(ctx: Context, chunk: bytes, last: bool) -> bytes:
            if not self._applies(ctx):
                return chunk
            filtered: bytes = hook(ctx, chunk, last)
            return filtered

        return run

    def _wrap_hook(self, hook: Hook) -> Hook:
        @wraps(hook)
        def wrap(app: ASGIApp) -> ASGIApp:
            wrapped: ASGIApp = hook(app)

            async def choose(scope: Scope, receive: Receive, send: Send) -> None:
                inner = wrapped if self._applies(scope[CONTEXT_KEY]) else app
                await inner(scope, receive, send)

            return choose

        return wrap


_OWN_TYPES = (TEXT_PLAIN, TEXT_HTML)


def decorator(plugin: type[Plugin], meta: Meta) -> Decorator | None:
    """Return what ``_meta`` makes of the hooks; None when it leaves them as they are.

    Raises SchemaError for a filter that is no expression.
    """
    if meta.filter is None and meta.error_response is None and meta.fail == "closed":
        return None
    return Decorator(plugin, meta)
