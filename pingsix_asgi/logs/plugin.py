"""The common part of logger plugins: which requests, which fields, which bodies."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ..context import Context
from ..errors import SchemaError
from ..expr.expression import compile_expression
from ..expr.variables import needs_body
from ..plugin.base import Host, Phase, Plugin, PluginConf, Reply
from ..types import JSON, Message
from .entry import compile_format, decoded_body, default_entry, format_needs_body


class LogConf(PluginConf):
    """Options every logger plugin has."""

    log_format: dict[str, JSON] | str | None = None
    """Fields by name; text only where the plugin writes lines of text."""
    log_format_extra: dict[str, JSON] | None = None
    """Fields to add to the default entry; no effect with a ``log_format``."""
    include_req_body: bool = False
    """Log the request body, as ``request.body``."""
    include_req_body_expr: Annotated[list[JSON], Field(min_length=1)] | None = None
    """An expression that must hold for ``include_req_body`` to count."""
    include_resp_body: bool = False
    """Log the response body, decompressed, as ``response.body``."""
    include_resp_body_expr: Annotated[list[JSON], Field(min_length=1)] | None = None
    """An expression that must hold for ``include_resp_body`` to count."""
    max_req_body_bytes: Annotated[int, Field(ge=1)] = 524288
    """Bytes of the request body that are logged."""
    max_resp_body_bytes: Annotated[int, Field(ge=1)] = 524288
    """Bytes of the response body that are logged."""


class LogMetadata(PluginConf):
    """plugin_metadata every logger plugin has; a route's own format wins."""

    log_format: dict[str, JSON] | None = None
    """For routes without a format of their own."""
    log_format_extra: dict[str, JSON] | None = None
    """For routes without one of their own."""
    max_pending_entries: Annotated[int, Field(ge=1)] | None = None
    """Entries that may wait to be sent, 8192 by default."""


class _Bodies:
    """Body bytes collected of one request, up to the limits."""

    __slots__ = ("request", "response")

    def __init__(self) -> None:
        self.request = bytearray()
        self.response = bytearray()


class LoggerPlugin(Plugin):
    """Makes an entry of each request and gives it to ``emit``."""

    Metadata = LogMetadata

    def __init__(self, conf: Any) -> None:
        self.conf = conf
        self._wants_request = condition(conf.include_req_body_expr, "include_req_body_expr")
        self._wants_response = condition(conf.include_resp_body_expr, "include_resp_body_expr")
        self.needs_body = needs_body(conf.include_req_body_expr) or needs_body(
            conf.include_resp_body_expr
        )
        skips: set[Phase] = set()
        if not conf.include_req_body:
            skips.add("access")
        if not conf.include_resp_body:
            skips.add("body_filter")
        self.skips = frozenset(skips)

    def setup(self, host: Host) -> None:
        metadata: Any = host.metadata() or LogMetadata()
        log_format = self.conf.log_format or metadata.log_format
        extra = self.conf.log_format_extra or metadata.log_format_extra
        self._format = compile_format(log_format) if isinstance(log_format, dict) else default_entry
        self._extra = compile_format(extra) if extra and not log_format else None
        if format_needs_body(log_format) or (self._extra and format_needs_body(extra)):
            self.needs_body = True

    def emit(self, ctx: Context, entry: Any) -> None:
        """Write or queue one entry; must not block."""
        raise NotImplementedError

    def access(self, ctx: Context) -> Reply:
        if self._wants_request is None or self._wants_request(ctx):
            self._tee_request(ctx)
        return None

    def body_filter(self, ctx: Context, chunk: bytes, last: bool) -> bytes:
        if self._wants_response is None or self._wants_response(ctx):
            kept = self._bodies(ctx).response
            kept += chunk[: self.conf.max_resp_body_bytes - len(kept)]
        return chunk

    def log(self, ctx: Context) -> None:
        self.emit(ctx, self.entry(ctx))

    def entry(self, ctx: Context) -> Any:
        """Return the document to log for this request."""
        bodies: _Bodies | None = ctx.noted(self)
        request_body = response_body = None
        if bodies is not None and self.conf.include_req_body:
            request_body = bodies.request.decode("utf-8", "replace")
            ctx.set_var("request_body", request_body)
        if bodies is not None and self.conf.include_resp_body:
            encoding = ctx.response.headers.get(b"content-encoding")
            limit = self.conf.max_resp_body_bytes
            response_body = decoded_body(bytes(bodies.response), encoding, limit)
            ctx.set_var("resp_body", response_body)
        entry = self._format(ctx)
        if self._extra is not None:
            entry = {**self._extra(ctx), **entry}
        if self._format is default_entry:
            if request_body is not None:
                entry["request"]["body"] = request_body
            if response_body is not None:
                entry["response"]["body"] = response_body
        return entry

    def _bodies(self, ctx: Context) -> _Bodies:
        bodies: _Bodies | None = ctx.noted(self)
        if bodies is None:
            bodies = _Bodies()
            ctx.note(self, bodies)
        return bodies

    def _tee_request(self, ctx: Context) -> None:
        """Copy what the target reads of the request body; it still streams."""
        kept, limit, inner = self._bodies(ctx).request, self.conf.max_req_body_bytes, ctx.receive

        async def receive() -> Message:
            message = await inner()
            kept.extend(message.get("body", b"")[: limit - len(kept)])
            return message

        ctx.receive = receive


def condition(document: list[JSON] | None, field: str) -> Any:
    """Compile the expression of an option, None for none. Raises SchemaError in APISIX's words."""
    if document is None:
        return None
    try:
        return compile_expression(document)
    except ValueError as error:
        text = f"failed to validate the '{field}' expression: {error}"
        raise SchemaError(text, path=field) from None
