"""Ask an external service whether a request may pass."""

from __future__ import annotations

import logging
import re
from typing import Annotated, Literal

import httpx2
from pydantic import Field

from ..context import Context
from ..errors import DownstreamError
from ..expr.template import Template
from ..expr.variables import getter
from ..http.response import Response, error_page
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..types import RawHeaders

logger = logging.getLogger("pingsix_asgi.plugins.forward_auth")

_request_uri = getter("request_uri")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class ForwardAuth(Plugin):
    """Send the request's headers to ``uri``; a status below 300 lets it pass.

    Source: apisix/plugins/forward-auth.lua.
    """

    name = "forward-auth"
    priority = 2002

    class Conf(PluginConf):
        uri: Annotated[str, Field(min_length=1)]
        allow_degradation: bool = False
        status_on_error: Annotated[int, Field(ge=200, le=599)] = 403
        ssl_verify: bool = True
        request_method: Literal["GET", "POST"] = "GET"
        request_headers: list[str] = Field(default_factory=list)
        extra_headers: Annotated[dict[str, str], Field(min_length=1)] | None = None
        upstream_headers: list[str] = Field(default_factory=list)
        client_headers: list[str] = Field(default_factory=list)
        timeout: Annotated[int, Field(ge=1, le=60000)] = 3000
        """Milliseconds."""
        keepalive: bool = True
        keepalive_timeout: Annotated[int, Field(ge=1000)] = 60000
        """Milliseconds."""
        keepalive_pool: Annotated[int, Field(ge=1)] = 5
        max_req_body_size: Annotated[int, Field(ge=1)] = 67108864

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._request_headers = [name.lower().encode() for name in conf.request_headers]
        self._upstream_headers = [name.lower().encode() for name in conf.upstream_headers]
        self._client_headers = [name.lower().encode() for name in conf.client_headers]
        self._extra = [
            (name.lower().encode(), Template(text))
            for name, text in (conf.extra_headers or {}).items()
        ]
        self.needs_body = any(template.needs_body for _, template in self._extra)

    def setup(self, host: Host) -> None:
        conf = self._conf
        key = (self.name, conf.ssl_verify, conf.keepalive, conf.keepalive_timeout, conf.timeout)
        self._client = host.keep(key, self._make_client)

    async def access(self, ctx: Context) -> Reply:
        try:
            body = await self._body(ctx)
        except DownstreamError as error:
            return error_page(error.status)
        try:
            answer = await self._client.request(
                self._conf.request_method, self._conf.uri, headers=self._headers(ctx), content=body
            )
        except httpx2.HTTPError as error:
            logger.warning("authorization service failed: %s", error or type(error).__name__)
            return None if self._conf.allow_degradation else error_page(self._conf.status_on_error)
        if answer.status_code >= 300:
            return self._refusal(answer)
        for name in self._upstream_headers:
            ctx.request.headers.remove(name)
            for line in _lines(answer, name):
                ctx.request.headers.append(*line)
        return None

    async def _body(self, ctx: Context) -> bytes | None:
        if self._conf.request_method != "POST":
            return None
        return await ctx.read_body(self._conf.max_req_body_size)

    def _headers(self, ctx: Context) -> dict[bytes, bytes]:
        request = ctx.request
        headers = {
            b"x-forwarded-proto": request.scheme.encode(),
            b"x-forwarded-method": request.method.encode(),
            b"x-forwarded-host": request.host.encode("latin-1", "replace"),
            b"x-forwarded-uri": _encoded(str(_request_uri(ctx))),
            b"x-forwarded-for": request.client[0].encode(),
        }
        encoding = request.headers.get(b"content-encoding")
        if self._conf.request_method == "POST" and encoding:
            headers[b"content-encoding"] = encoding
        for name, template in self._extra:
            headers[name] = _encoded(template.render(ctx))
        for name in self._request_headers:
            value = request.headers.get(name)
            if value is not None:
                headers.setdefault(name, value)
        return headers

    def _refusal(self, answer: httpx2.Response) -> Response:
        headers = [line for name in self._client_headers for line in _lines(answer, name)]
        return Response(answer.status_code, answer.content, headers)

    def _make_client(self) -> httpx2.AsyncClient:
        conf = self._conf
        return httpx2.AsyncClient(
            verify=conf.ssl_verify,
            timeout=conf.timeout / 1000,
            trust_env=False,
            limits=httpx2.Limits(
                max_keepalive_connections=conf.keepalive_pool if conf.keepalive else 0,
                keepalive_expiry=conf.keepalive_timeout / 1000,
            ),
        )


def _lines(answer: httpx2.Response, name: bytes) -> RawHeaders:
    return [(name, value) for key, value in answer.headers.raw if key.lower() == name]


def _encoded(text: str) -> bytes:
    """Make a header value of text that a client may have written: controls cannot end the line."""
    text = _CONTROLS.sub(lambda found: f"%{ord(found[0]):02X}", text)
    return text.encode("utf-8", "surrogateescape")
