"""Change status, headers and body of responses."""

from __future__ import annotations

import base64
import binascii
import logging
import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ..context import Context
from ..errors import SchemaError, UpstreamProtocolError
from ..expr.expression import compile_expression
from ..expr.substitution import Substitution
from ..expr.variables import needs_body
from ..http.encoding import decoding
from ..model.base import parse
from ..plugin.base import Phase, Plugin, PluginConf
from ..plugin.body import has_body
from ..plugin.header_ops import HeaderOps, HeaderValue, check_header, is_structured

logger = logging.getLogger("pingsix_asgi.plugins.response_rewrite")

_ADDED = re.compile(r"([^:\s]+)\s*:\s*([^:]*)", re.DOTALL)


class HeaderEdits(PluginConf):
    """Edits by kind; they are applied in the order add, set, remove."""

    add: list[Annotated[str, Field(pattern="^[^:]+:[^:]*[^/]$")]] | None = None
    """Lines to add, as "Name: value"."""
    set: Annotated[dict[str, HeaderValue], Field(min_length=1)] | None = None
    """Headers to set."""
    remove: list[Annotated[str, Field(pattern="^[^:]+$")]] | None = None
    """Headers to remove."""


class Filter(PluginConf):
    """One substitution in the body."""

    regex: Annotated[str, Field(min_length=1)]
    """Pattern to search."""
    scope: Literal["once", "global"] = "once"
    """Replace the first match, or all."""
    replace: str
    """What to put in its place; ``$1`` is a group."""
    options: str = "jo"
    """Of ngx.re: ``i`` ignores case, ``j`` and ``o`` change nothing."""


class ResponseRewrite(Plugin):
    """Rewrite every response, the gateway's own included, or those for which ``vars`` holds.

    ``vars`` is evaluated when the response starts, so it may ask for ``status``. With ``filters``
    the whole body is held, at most ``max_resp_body_size`` bytes of it, and decoded first; one that
    is broken, or decodes to more than 100 times its size (4 MiB are free), aborts the response.
    Source: apisix/plugins/response-rewrite.lua. Differs: a body in an encoding that cannot be
    decoded is passed on unchanged.
    """

    name = "response-rewrite"
    priority = 899

    class Conf(PluginConf):
        status_code: Annotated[int, Field(ge=200, le=598)] | None = None
        """Status to send."""
        headers: Annotated[dict[str, Any], Field(min_length=1)] | None = None
        """Edits (add, set, remove), or a flat object of headers to set."""
        body: str | None = None
        """Body to send in place of the target's."""
        body_base64: bool = False
        """``body`` is base64."""
        vars: list[Any] | None = None
        """Expression that must hold; it may ask for ``status``."""
        filters: Annotated[list[Filter], Field(min_length=1)] | None = None
        """Substitutions in the body; not beside ``body``."""
        max_resp_body_size: Annotated[int, Field(ge=1)] = 67_108_864
        """Bytes."""

        @model_validator(mode="after")
        def _one_way_to_a_body(self) -> Self:
            if self.body is not None and self.filters is not None:
                raise ValueError(
                    'failed to validate dependent schema for "filters": '
                    "value wasn't supposed to match schema"
                )
            return self

    def __init__(self, conf: Conf) -> None:
        self._status = conf.status_code
        self._headers = _header_ops(conf.headers) if conf.headers else None
        self._body = _body(conf)
        self._filters = [_filter(one, index) for index, one in enumerate(conf.filters or ())]
        self._max_bytes = conf.max_resp_body_size
        self._applies = None
        self.needs_body = needs_body(conf.vars) or bool(self._headers and self._headers.needs_body)
        if conf.vars:
            try:
                self._applies = compile_expression(conf.vars)
            except ValueError as error:
                text = f"failed to validate the 'vars' expression: {error}"
                raise SchemaError(text, path="vars") from None
        if self._body is None and not self._filters:
            self.skips: frozenset[Phase] = frozenset({"body_filter"})

    def header_filter(self, ctx: Context) -> None:
        if self._applies is not None and not self._applies(ctx):
            return
        head = ctx.response
        if self._status is not None:
            head.status = self._status
        if self._body is not None:
            head.body_modified()
            ctx.note(self, _Held(None))
        elif self._filters:
            self._hold(ctx)
        if self._headers is not None:
            self._headers.apply(head.headers, ctx)

    def body_filter(self, ctx: Context, chunk: bytes, last: bool) -> bytes:
        held: _Held | None = ctx.noted(self)
        if held is None:
            return chunk
        if self._body is not None:
            return self._body if last and has_body(ctx) else b""
        room = self._max_bytes - held.size
        if room > 0:
            held.chunks.append(chunk[:room])
            held.size += len(chunk)
        return self._filtered(held) if last else b""

    def _hold(self, ctx: Context) -> None:
        """Start to hold the body for the filters, unless there is none or it cannot be decoded."""
        head = ctx.response
        coding = head.headers.get(b"content-encoding")
        held = _Held(coding)
        if not has_body(ctx):
            return
        if held.decoding is None:
            logger.error("filters may not work as expected, encoding %r is not known", coding)
            return
        head.body_modified()
        ctx.note(self, held)

    def _filtered(self, held: _Held) -> bytes:
        body = b"".join(held.chunks)
        if not body or held.decoding is None:
            return body
        try:
            body = held.decoding.feed(body, self._max_bytes)
            if max(held.size, len(body)) < self._max_bytes:  # else it is we who cut it off
                held.decoding.finish()
        except ValueError as error:
            raise UpstreamProtocolError(f"the response cannot be decoded: {error}") from None
        text = body.decode("latin-1")  # one character per byte, as patterns are
        for substitution, everywhere in self._filters:
            text = substitution.every(text) if everywhere else substitution.once(text)
        return text.encode("latin-1")


class _Held:
    """The body under way of one response."""

    def __init__(self, coding: bytes | None) -> None:
        self.decoding = decoding(coding)
        self.chunks: list[bytes] = []
        self.size = 0


def _body(conf: ResponseRewrite.Conf) -> bytes | None:
    if not conf.body_base64:
        return None if conf.body is None else conf.body.encode()
    try:
        body = base64.b64decode(conf.body or "", validate=True)
    except (binascii.Error, ValueError):
        body = b""
    if not body:
        raise SchemaError("invalid base64 content", path="body")
    return body


def _filter(conf: Filter, index: int) -> tuple[Substitution, bool]:
    pattern, replacement = (_bytewise(text) for text in (conf.regex, conf.replace))
    try:
        substitution = Substitution(pattern, replacement, conf.options)
    except ValueError as error:
        text = f'regex "{conf.regex}" validation failed: {error}'
        raise SchemaError(text, path=f"filters.{index}.regex") from None
    return substitution, conf.scope == "global"


def _bytewise(text: str) -> str:
    """Spell UTF-8 text as one character per byte, which is how bodies are searched."""
    return text.encode().decode("latin-1")


def _header_ops(headers: dict[str, Any]) -> HeaderOps:
    if not is_structured(headers):
        edits = HeaderEdits.model_construct(set=headers)
    else:
        try:
            edits = parse(HeaderEdits, headers, at="headers")
        except SchemaError as error:
            text = 'property "headers" validation failed: object matches none of the required'
            raise SchemaError(text, path=error.path) from None
    added = []
    try:
        for name, value in (edits.set or {}).items():
            check_header(name, value)
        for line in edits.add or ():
            found = _ADDED.fullmatch(line)
            if found is None:
                raise ValueError(f"invalid header to add: {line}")
            added.append((found[1], found[2]))
    except ValueError as error:
        raise SchemaError(str(error), path="headers") from None
    return HeaderOps(add=added, replace=edits.set, remove=edits.remove or ())
