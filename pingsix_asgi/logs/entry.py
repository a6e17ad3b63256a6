"""Log entries: APISIX's default document, or the fields a ``log_format`` names.

Source: APISIX apisix/utils/log-util.lua.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from typing import Any, TypeAlias

from .. import __version__
from ..context import Context
from ..expr.template import Template
from ..expr.variables import getter, needs_body
from ..http.encoding import decoder
from ..http.query import arguments
from ..types import JSON

MAX_DEPTH = 5
"""Levels of a nested log_format; what lies deeper becomes empty."""

Field: TypeAlias = Callable[[Context], Any]

_request_uri = getter("request_uri")
_upstream_addr = getter("upstream_addr")
_hostname = platform.node()


def default_entry(ctx: Context) -> dict[str, Any]:
    """Build the document that is logged when no ``log_format`` is given.

    ``uri`` is as the client sent it, the headers are as they went to the target.
    """
    request, info = ctx.request, ctx.match.info
    uri = _request_uri(ctx)
    latency = _variable("request_time", ctx) * 1000
    upstream_s = ctx.upstream.response_s if ctx.upstream is not None else None
    upstream_ms = round(upstream_s, 3) * 1000 if upstream_s is not None else None
    port = (ctx.scope.get("server") or ("", None))[1]
    netloc = f"{request.host}:{port}" if port else request.host
    entry = {
        "request": {
            "url": f"{request.scheme}://{netloc}{uri}",
            "uri": uri,
            "method": request.method,
            "headers": _headers(request.headers),
            "querystring": arguments(request.query),
            "size": _number("request_length", ctx),
        },
        "response": {
            "status": ctx.status,
            "headers": _headers(ctx.response.headers),
            "size": _number("bytes_sent", ctx),
        },
        "server": {"hostname": _hostname, "version": __version__},
        "upstream": _upstream_addr(ctx),
        "service_id": info.service_id or ("" if info.route_id else request.host),
        "route_id": info.route_id or None,
        "consumer": {"username": ctx.consumer.username} if ctx.consumer else None,
        "client_ip": request.client[0],
        "start_time": round(_variable("msec", ctx) * 1000 - latency),
        "latency": latency,
        "upstream_latency": upstream_ms,
        "apisix_latency": max(latency - (upstream_ms or 0.0), 0.0),
    }
    return {name: value for name, value in entry.items() if value is not None}


def compile_format(log_format: dict[str, JSON]) -> Field:
    """Compile an object format: a value ``$name`` is a variable, any other a literal."""
    fields = _compile_level(log_format, 1)

    def entry(ctx: Context) -> dict[str, Any]:
        made: dict[str, Any] = fields(ctx)
        info = ctx.match.info
        made.setdefault("route_id", info.route_id or None)
        made.setdefault("service_id", info.service_id or None)
        return {name: value for name, value in made.items() if value is not None}

    return entry


def format_needs_body(log_format: JSON) -> bool:
    """Tell whether a format, of either kind, shows something of the request body."""
    if isinstance(log_format, dict):
        return any(
            format_needs_body(value)
            if isinstance(value, dict)
            else isinstance(value, str) and value.startswith("$") and needs_body(value[1:])
            for value in log_format.values()
        )
    return isinstance(log_format, str) and Template(log_format).needs_body


def decoded_body(body: bytes, encoding: bytes | None, max_bytes: int) -> str:
    """Return a collected body as text, decompressed as far as that is possible."""
    decode = decoder(encoding)
    if decode is None:
        return body.decode("latin-1")
    try:
        return decode(body, max_bytes).decode("utf-8", "replace")
    except ValueError:
        return body.decode("latin-1")


def dump(entries: Any) -> str:
    """Write entries as JSON without spaces, as APISIX's logs are."""
    return json.dumps(entries, ensure_ascii=False, separators=(",", ":"))


def _compile_level(document: dict[str, JSON], depth: int) -> Field:
    fields = [(name, _compile_value(value, depth)) for name, value in document.items()]

    def level(ctx: Context) -> dict[str, Any]:
        values = ((name, value(ctx)) for name, value in fields)
        return {name: value for name, value in values if value is not None}

    return level


def _compile_value(value: JSON, depth: int) -> Field:
    if isinstance(value, dict):
        return _compile_level(value, depth + 1) if depth < MAX_DEPTH else lambda _: {}
    if value == "$status":
        return lambda ctx: ctx.status  # a number here, unlike other variables of nginx
    if isinstance(value, str) and value.startswith("$"):
        return getter(value[1:])
    return lambda _: value


def _headers(headers: Any) -> dict[str, Any]:
    """Return header lines by name; repeated lines become a list."""
    found: dict[str, Any] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


def _variable(name: str, ctx: Context) -> float:
    return float(getter(name)(ctx) or 0)


def _number(name: str, ctx: Context) -> int:
    return int(getter(name)(ctx) or 0)
