"""Variables that the request alone determines, with what routing and authentication made of it."""

from __future__ import annotations

import binascii
import os
import socket
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from ..errors import DownstreamError
from ..http.cookies import cookie
from ..http.query import argument
from ..http.scope import read_path
from ..types import JSON, Scope
from .reader import Getter, Prefix, header_reader, text

if TYPE_CHECKING:
    from ..context import Context, RouteInfo

REQUEST_ID: Final = "apisix_request_id"
"""Under this name request-id notes the id as text."""

_SCHEMES = {"ws": "http", "wss": "https"}
_VERSIONS = {"2": "2.0", "3": "3.0"}
_TLS_VERSIONS = {0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
_CIPHERS = {
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
    0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
    0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
    0xCCA8: "ECDHE-RSA-CHACHA20-POLY1305",
    0xCCA9: "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""OpenSSL's names of the suites that TLS 1.3 and today's TLS 1.2 clients use (IANA registry)."""


def _query(ctx: Context) -> str:
    return text(ctx.request.query)


def _uri(ctx: Context) -> str:
    """The canonical path as it came: proxy-rewrite changes what goes upstream, not this."""
    path, asked = ctx.request.path, ctx.scope["path"]
    if path == asked:
        return path
    try:
        return read_path(ctx.scope)[0]
    except DownstreamError:
        return path


def _request_uri(ctx: Context) -> str:
    """The URI as it came, its path made canonical."""
    try:
        target = read_path(ctx.scope)[1]
    except DownstreamError:
        target = ctx.request.target
    return _with_query(target, ctx.scope.get("query_string", b""))


def _real_request_uri(ctx: Context) -> str:
    raw: bytes = ctx.scope.get("raw_path") or ctx.scope["path"].encode("utf-8", "surrogateescape")
    return _with_query(raw.partition(b"?")[0], ctx.scope.get("query_string", b""))


def _with_query(path: bytes, query: bytes) -> str:
    return text(path + b"?" + query if query else path)


def _scheme(ctx: Context) -> str:
    scheme = ctx.request.scheme
    return _SCHEMES.get(scheme, scheme)


def _protocol(ctx: Context) -> str:
    version: str = ctx.scope.get("http_version", "1.1")
    return "HTTP/" + _VERSIONS.get(version, version)


def _request_line(ctx: Context) -> str:
    return f"{ctx.scope.get('method', 'GET')} {_real_request_uri(ctx)} {_protocol(ctx)}"


def _request_length(ctx: Context) -> str:
    """The size of the request as HTTP/1.1 would write it; ASGI does not tell the exact one."""
    headers = ctx.scope["headers"]
    size = len(_request_line(ctx)) + 4 + sum(len(name) + len(value) + 4 for name, value in headers)
    length = _content_length(headers) or ""
    return str(size + (int(length) if length.isdecimal() else 0))


def _remote_user(ctx: Context) -> str | None:
    kind, _, credentials = (ctx.request.headers.get(b"authorization") or b"").partition(b" ")
    if kind.lower() != b"basic":
        return None
    try:
        user, colon, _ = b64decode(credentials.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return text(user) if colon and user else None


def _forwarded_for(ctx: Context) -> str:
    known = _x_forwarded_for(ctx.request.headers.raw)
    client = ctx.request.client[0]
    return f"{known}, {client}" if known else client


def _request_id(ctx: Context) -> str:
    """32 hexadecimal digits, the same all through the request."""
    made = uuid4().hex
    ctx.set_var("request_id", made)
    return made


def _apisix_request_id(ctx: Context) -> str:
    given = ctx.noted(REQUEST_ID)
    if isinstance(given, str):
        return given
    known = None if ctx.vars is None else ctx.vars.get("request_id")
    return known if isinstance(known, str) else _request_id(ctx)


def _address(ctx: Context, key: str, index: int) -> str | None:
    pair = ctx.scope.get(key)
    value = pair[index] if pair else None
    return None if value is None else str(value)


def _info(field: str) -> Getter:
    def read(ctx: Context) -> str | None:
        info: RouteInfo | None = getattr(getattr(ctx, "match", None), "info", None)
        return getattr(info, field, None) or None

    return read


def _consumer(field: str) -> Getter:
    return lambda ctx: getattr(ctx.consumer, field, None) or None


def _tls(scope: Scope) -> Mapping[str, JSON]:
    extensions = scope.get("extensions") or {}
    return extensions.get("tls") or {}


def _tls_named(field: str, names: Mapping[int, str]) -> Getter:
    def read(ctx: Context) -> str | None:
        number = _tls(ctx.scope).get(field)
        if number is None:
            return None
        return names.get(number) or (number if isinstance(number, str) else f"0x{number:04x}")

    return read


def _client_verify(ctx: Context) -> str | None:
    tls = _tls(ctx.scope)
    if not tls:
        return None
    error = tls.get("client_cert_error")
    if error:
        return f"FAILED:{error}"
    return "SUCCESS" if tls.get("client_cert_chain") else "NONE"


def _line(name: str) -> Getter:
    read = header_reader(name)
    return lambda ctx: read(ctx.request.headers.raw)


def _original_line(name: str) -> Getter:
    read = header_reader(name)
    return lambda ctx: read(ctx.scope["headers"])


def _constant(value: str) -> Getter:
    return lambda ctx: value


_content_length = header_reader("content_length")
_x_forwarded_for = header_reader("x_forwarded_for")

REQUEST_VARIABLES: Final[Mapping[str, Getter]] = {
    "method": lambda ctx: ctx.request.method,
    "request_method": lambda ctx: ctx.request.method,
    "uri": _uri,
    "document_uri": _uri,
    "request_uri": _request_uri,
    "real_request_uri": _real_request_uri,
    "args": _query,
    "query_string": _query,
    "is_args": lambda ctx: "?" if ctx.request.query else "",
    "host": lambda ctx: ctx.request.host,
    "scheme": _scheme,
    "https": lambda ctx: "on" if _scheme(ctx) == "https" else "",
    "server_protocol": _protocol,
    "request": _request_line,
    "request_length": _request_length,
    "request_id": _request_id,
    "apisix_request_id": _apisix_request_id,
    "content_type": _line("content_type"),
    "content_length": _line("content_length"),
    "remote_addr": lambda ctx: ctx.request.client[0] or None,
    "remote_port": lambda ctx: str(ctx.request.client[1]) if ctx.request.client[1] else None,
    "remote_user": _remote_user,
    "realip_remote_addr": lambda ctx: _address(ctx, "client", 0),
    "realip_remote_port": lambda ctx: _address(ctx, "client", 1),
    "server_addr": lambda ctx: _address(ctx, "server", 0),
    "server_port": lambda ctx: _address(ctx, "server", 1),
    "server_name": _constant("_"),  # APISIX's catch-all server is called so
    "hostname": _constant(socket.gethostname()),
    "pid": lambda ctx: str(os.getpid()),
    "proxy_add_x_forwarded_for": _forwarded_for,
    "original_x_forwarded_for": _original_line("x_forwarded_for"),
    "original_x_forwarded_proto": _original_line("x_forwarded_proto"),
    "original_x_forwarded_host": _original_line("x_forwarded_host"),
    "original_x_forwarded_port": _original_line("x_forwarded_port"),
    "original_forwarded": _original_line("forwarded"),
    "route_id": _info("route_id"),
    "route_name": _info("route_name"),
    "service_id": _info("service_id"),
    "service_name": _info("service_name"),
    "consumer_name": _consumer("username"),
    "consumer_id": _consumer("username"),
    "consumer_group_id": _consumer("group_id"),
    "ssl_protocol": _tls_named("tls_version", _TLS_VERSIONS),
    "ssl_cipher": _tls_named("cipher_suite", _CIPHERS),
    "ssl_server_name": lambda ctx: _tls(ctx.scope).get("server_name"),
    "ssl_client_s_dn": lambda ctx: _tls(ctx.scope).get("client_cert_name"),
    "ssl_client_verify": _client_verify,
}


def _argument(name: str) -> Getter:
    return lambda ctx: argument(ctx.request.query, name)


def _cookie(name: str) -> Getter:
    return lambda ctx: cookie(ctx.request.headers, name)


def _parameter(name: str) -> Getter:
    return lambda ctx: None if ctx.params is None else ctx.params.get(name)


REQUEST_PREFIXES: Final[Mapping[str, Prefix]] = {
    "http_": _line,
    "arg_": _argument,
    "cookie_": _cookie,
    "uri_param_": _parameter,
}
