"""Variables of the response, of the exchange with the upstream, and of time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ..clock import SystemClock
from .reader import Getter, Prefix, header_reader, text

if TYPE_CHECKING:
    from ..context import Context

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Spelled out, because strftime follows the locale and nginx does not."""
_STANDARD_PORTS = {"http": 80, "grpc": 80, "https": 443, "grpcs": 443}

RATE_LIMITING: Final = "rate_limiting"
"""Under this name limit-count notes (key, limit, remaining, seconds until reset)."""

clock = SystemClock()


def _status(ctx: Context) -> str | None:
    status = ctx.response.status or ctx.status
    return str(status) if status else None


def _bytes_sent(ctx: Context) -> str:
    """Body and head, as HTTP/1.1 would write the head; ASGI does not tell the exact size."""
    head = sum(len(name) + len(value) + 4 for name, value in ctx.response.headers)
    return str(ctx.bytes_sent + (head + len("HTTP/1.1 200 OK\r\n\r\n") if head else 0))


def _request_time(ctx: Context) -> str:
    return f"{max(clock.monotonic() - ctx.started, 0.0):.3f}"


def _now() -> datetime:
    return datetime.fromtimestamp(clock.time()).astimezone()


def _time_local(ctx: Context) -> str:
    now = _now()
    return f"{now:%d}/{_MONTHS[now.month - 1]}/{now:%Y:%H:%M:%S %z}"


def _time_iso8601(ctx: Context) -> str:
    return _now().isoformat(timespec="seconds")


def _upstream_addr(ctx: Context) -> str | None:
    return None if ctx.upstream is None else ", ".join(ctx.upstream.addr) or None


def _upstream_status(ctx: Context) -> str | None:
    return None if ctx.upstream is None else ", ".join(map(str, ctx.upstream.statuses)) or None


def _upstream_bytes(ctx: Context) -> str | None:
    return None if ctx.upstream is None else str(ctx.upstream.bytes_in)


def _seconds(field: str) -> Getter:
    def read(ctx: Context) -> str | None:
        seconds = getattr(ctx.upstream, field, None)
        return None if seconds is None else f"{seconds:.3f}"

    return read


def _upstream_scheme(ctx: Context) -> str | None:
    upstream = getattr(getattr(ctx, "target", None), "upstream", None)
    return None if upstream is None else upstream.scheme


def _upstream_host(ctx: Context) -> str | None:
    """The Host header for the upstream, by its ``pass_host``."""
    upstream: Any = getattr(getattr(ctx, "target", None), "upstream", None)
    match getattr(upstream, "pass_host", None):
        case "rewrite":
            return str(upstream.upstream_host)
        case "node" if ctx.node is not None:
            is_standard = ctx.node.port == _STANDARD_PORTS.get(upstream.scheme)
            return ctx.node.host if is_standard else f"{ctx.node.host}:{ctx.node.port}"
    host = ctx.request.headers.get(b"host")
    return None if host is None else text(host)


def _upstream_uri(ctx: Context) -> str:
    request = ctx.request
    return text(request.target + b"?" + request.query if request.query else request.target)


def _node(field: str) -> Getter:
    def read(ctx: Context) -> str | None:
        node = ctx.node
        return None if node is None or node.is_local else str(getattr(node, field))

    return read


def _rate_limiting_info(ctx: Context) -> str | None:
    """JSON of what limit-count decided last; it notes the numbers, the text is made here."""
    known = ctx.noted(RATE_LIMITING)
    if known is None:
        return None
    names = ("key", "limit", "remaining", "reset")
    document = {f"rate_limiting_{name}": value for name, value in zip(names, known, strict=True)}
    return json.dumps(document, separators=(",", ":"))


RESPONSE_VARIABLES: Final[Mapping[str, Getter]] = {
    "status": _status,
    "body_bytes_sent": lambda ctx: str(ctx.bytes_sent),
    "bytes_sent": _bytes_sent,
    "request_time": _request_time,
    "time_local": _time_local,
    "time_iso8601": _time_iso8601,
    "msec": lambda ctx: f"{clock.time():.3f}",
    "balancer_ip": _node("address"),
    "balancer_port": _node("port"),
    "upstream_unresolved_host": _node("host"),
    "upstream_addr": _upstream_addr,
    "upstream_status": _upstream_status,
    "upstream_connect_time": _seconds("connect_s"),
    "upstream_header_time": _seconds("header_s"),
    "upstream_response_time": _seconds("response_s"),
    "apisix_upstream_response_time": _seconds("response_s"),
    "upstream_bytes_received": _upstream_bytes,
    "upstream_scheme": _upstream_scheme,
    "upstream_host": _upstream_host,
    "upstream_uri": _upstream_uri,
    "rate_limiting_info": _rate_limiting_info,
}


def _sent_line(name: str) -> Getter:
    read = header_reader(name)
    return lambda ctx: read(ctx.response.headers.raw)


def _upstream_line(name: str) -> Getter:
    read = header_reader(name)
    return lambda ctx: read(ctx.response.headers.raw) if ctx.response.from_upstream else None


RESPONSE_PREFIXES: Final[Mapping[str, Prefix]] = {
    "sent_http_": _sent_line,
    "upstream_http_": _upstream_line,
}
