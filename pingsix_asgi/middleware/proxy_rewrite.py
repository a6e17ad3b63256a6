"""Change the request on its way to the target: path, query, method, host, headers."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ..context import Context
from ..errors import SchemaError
from ..expr.substitution import compile_pairs, first_match
from ..expr.template import Template
from ..model.base import parse
from ..plugin.base import Plugin, PluginConf, Reply
from ..plugin.header_ops import HeaderOps, HeaderValue, check_header, is_structured

_UNSAFE = re.compile(rb"[^\x21-\x7e]")

Value: TypeAlias = HeaderValue | list[HeaderValue]


class HeaderEdits(PluginConf):
    """Edits by kind; they are applied in the order add, set, remove."""

    add: dict[str, Value] | None = None
    set: dict[str, Value] | None = None
    remove: list[str] | None = None


class ProxyRewrite(Plugin):
    """Rewrite the request before anything is sent.

    ``uri`` wins over ``regex_uri``, whose first matching pair replaces the matched part of the
    path. The client's query is kept behind the one of the new URI. ``host`` is the Host header;
    an upstream with pass_host "rewrite" or "node" overrides it.
    Source: apisix/plugins/proxy-rewrite.lua.
    """

    name = "proxy-rewrite"
    priority = 1008

    class Conf(PluginConf):
        uri: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^\/.*")] | None = None
        """New path, and query, a template. At least one option is required."""
        regex_uri: Annotated[list[str], Field(min_length=2)] | None = None
        """Pattern and replacement, or several pairs; no effect with ``uri``."""
        method: (
            Literal["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "MKCOL", "COPY", "MOVE"]
            | Literal["PROPFIND", "LOCK", "UNLOCK", "PATCH", "TRACE"]
            | None
        ) = None
        """New method."""
        host: Annotated[str, Field(pattern=r"^[0-9a-zA-Z-.]+(:\d{1,5})?$")] | None = None
        """New Host."""
        headers: Annotated[dict[str, Any], Field(min_length=1)] | None = None
        """Edits (add, set, remove), or a flat object of headers to set."""
        use_real_request_uri_unsafe: bool = False
        """Start from the request line as the client wrote it."""

        @model_validator(mode="after")
        def _something(self) -> Self:
            if not self.model_fields_set:
                raise ValueError("expect object to have at least 1 properties")
            return self

    def __init__(self, conf: Conf) -> None:
        self._path: Template | None = None
        self._query: Template | None = None
        if conf.uri is not None:
            path, mark, query = conf.uri.partition("?")
            self._path = Template(path)
            self._query = Template(query) if mark else None
        self._substitutions = compile_pairs(conf.regex_uri or [], "regex_uri")
        self._method = conf.method
        self._host = conf.host.encode() if conf.host else None
        self._headers = _header_ops(conf.headers) if conf.headers else None
        self._unsafe = conf.use_real_request_uri_unsafe
        templates = (self._path, self._query, self._headers)
        self.needs_body = any(part is not None and part.needs_body for part in templates)

    def rewrite(self, ctx: Context) -> Reply:
        captures = self._rewrite_unsafe(ctx) if self._unsafe else self._rewrite_path(ctx)
        request = ctx.request
        if self._method is not None:
            request.method = self._method
        if self._host is not None:
            request.headers.set(b"host", self._host)
        if self._headers is not None:
            self._headers.apply(request.headers, ctx, captures)
        return None

    def _rewrite_path(self, ctx: Context) -> re.Match[str] | None:
        request = ctx.request
        if self._path is not None:
            query = None if self._query is None else _escape(self._query.render(ctx))
            # A "?" in here is a variable's. APISIX escapes it, and the escape once more.
            request.rewrite_path(self._path.render(ctx).replace("?", "%3F"))
            if query is not None:
                request.query = _join(query, request.query)
            return None
        captures, path = first_match(self._substitutions, request.path)
        if captures is None:
            return None
        if "?" not in captures.string:  # a "?" of the template starts a query, the path's does not
            path, mark, query_text = path.partition("?")
            if mark:
                request.query = _join(_escape(query_text), request.query)
        request.rewrite_path(path)
        return captures

    def _rewrite_unsafe(self, ctx: Context) -> re.Match[str] | None:
        """Rewrite the request line as the client wrote it, without decoding or encoding."""
        request = ctx.request
        raw = ctx.scope.get("raw_path") or request.target
        captures = None
        if self._path is not None:
            uri = self._path.render(ctx)
            if self._query is not None:
                uri += "?" + self._query.render(ctx)
            path, mark, query = uri.partition("?")
            request.query = _join(_escape(query), request.query) if mark else request.query
        else:
            line = raw.partition(b"?")[0].decode("latin-1")
            if request.query:
                line += "?" + request.query.decode("latin-1")
            captures, line = first_match(self._substitutions, line)
            path, _, query = line.partition("?")
            request.query = _escape(query)
        request.rewrite_path(path)
        request.target = _escape(path)
        return captures


def _header_ops(headers: dict[str, Any]) -> HeaderOps:
    if is_structured(headers):
        edits = parse(HeaderEdits, headers, at="headers")
    else:
        edits = HeaderEdits.model_construct(set=headers)
    try:
        for fields in (edits.add or {}, edits.set or {}):
            for name, value in fields.items():
                check_header(name, value, lists=True)
    except ValueError as error:
        raise SchemaError(str(error), path="headers") from None
    added = [
        (name, one)
        for name, value in (edits.add or {}).items()
        for one in (value if isinstance(value, list) else [value])
    ]
    return HeaderOps(add=added, replace=edits.set, remove=edits.remove or [])


def _join(first: bytes, second: bytes) -> bytes:
    return first + b"&" + second if first and second else first or second


def _escape(text: str) -> bytes:
    """Percent-encode what must not stand in a request line, and nothing that is encoded already."""
    data = text.encode("utf-8", "surrogateescape")
    return _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], data)
