"""Ask an external service whether a request may pass."""

from __future__ import annotations

import logging
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
        extra_headers: dict[str, str] = Field(default_factory=dict)
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
        self._upstream_headers = [name.lower() for name in conf.upstream_headers]
        self._client_headers = [name.lower() for name in conf.client_headers]
        self._extra = [(name, Template(text)) for name, text in conf.extra_headers.items()]
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
            value = answer.headers.get(name)
            if value is None:
                ctx.request.headers.remove(name.encode())
            else:
                ctx.request.headers.set(name.encode(), value.encode("latin-1"))
        return None

    async def _body(self, ctx: Context) -> bytes | None:
        if self._conf.request_method != "POST":
            return None
        return await ctx.read_body(self._conf.max_req_body_size)

    def _headers(self, ctx: Context) -> dict[str, str]:
        request = ctx.request
        headers = {
            "x-forwarded-proto": request.scheme,
            "x-forwarded-method": request.method,
            "x-forwarded-host": request.host,
            "x-forwarded-uri": str(_request_uri(ctx)),
            "x-forwarded-for": request.client[0],
        }
        encoding = request.headers.get(b"content-encoding")
        if self._conf.request_method == "POST" and encoding:
            headers["content-encoding"] = encoding.decode("latin-1")
        for name, template in self._extra:
            headers[name.lower()] = template.render(ctx)
        for raw in self._request_headers:
            value = request.headers.get(raw)
            if value is not None:
                headers.setdefault(raw.decode(), value.decode("latin-1"))
        return headers

    def _refusal(self, answer: httpx2.Response) -> Response:
        headers: RawHeaders = [
            (name.encode(), answer.headers[name].encode("latin-1"))
            for name in self._client_headers
            if name in answer.headers
        ]
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
