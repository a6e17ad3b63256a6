"""Send a copy of requests to another server and ignore its answers."""

from __future__ import annotations

import logging
import random
from typing import Annotated, Literal

import httpx2
from pydantic import Field

from ..context import Context
from ..http.framing import HOP_BY_HOP
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..plugin.errands import Errands

logger = logging.getLogger("pingsix_asgi.plugins.proxy_mirror")

MAX_IN_FLIGHT = 256
"""Copies under way at once; further ones are not sent, so a slow mirror costs no memory."""
MAX_BODY_BYTES = 1_048_576
"""Requests with a larger body, or with one of unknown length, are not mirrored."""
_TIMEOUT_S = 60.0


class ProxyMirror(Plugin):
    """Mirror a share of the requests.

    The copy has the path of the plugin's turn in the rewrite phase, before proxy-rewrite has its
    own unless priorities say otherwise; method and body are those that go upstream, and so are the
    headers but for those that the gateway adds for an upstream.
    Source: apisix/plugins/proxy-mirror.lua. Differs: bodies over 1 MiB are not mirrored; a grpc
    mirror host is refused.
    """

    name = "proxy-mirror"
    priority = 1010

    class Conf(PluginConf):
        host: Annotated[
            str, Field(pattern=r"^https?://[\da-zA-Z.-]+(:\d+)?$|^https?://\[.+\](:\d+)?$")
        ]
        """Where copies go."""
        path: Annotated[str, Field(pattern=r"^/[^?&]*$")] | None = None
        """Path of copies; unset: the request's."""
        path_concat_mode: Literal["replace", "prefix"] = "replace"
        """``path`` stands in place of the request's, or before it."""
        sample_ratio: Annotated[float, Field(ge=0.00001, le=1)] = 1
        """Share of the requests."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf

    def setup(self, host: Host) -> None:
        self._mirror = host.keep((self.name, self._conf.host), lambda: _Mirror(self._conf.host))

    def rewrite(self, ctx: Context) -> Reply:
        if self._conf.sample_ratio == 1 or random.random() < self._conf.sample_ratio:
            ctx.note(self, self._target(ctx))
        return None

    async def before_proxy(self, ctx: Context) -> Reply:
        target: str | None = ctx.noted(self)
        if target is None:
            return None
        body = await self._body(ctx)
        if body is not None:
            self._mirror.send(ctx, target, body)
        return None

    async def _body(self, ctx: Context) -> bytes | None:
        """Return the body to copy, b"" for none, None when it is too large to keep."""
        headers = ctx.request.headers
        length = headers.get(b"content-length")
        if length is None:
            return None if b"transfer-encoding" in headers else b""
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            return None
        return await ctx.read_body() if int(length) else b""

    def _target(self, ctx: Context) -> str:
        target = ctx.request.target.decode("latin-1")
        if self._conf.path is not None:
            prefixed = self._conf.path_concat_mode == "prefix"
            target = self._conf.path.rstrip("/") + target if prefixed else self._conf.path
        query = ctx.request.query.decode("latin-1")
        return f"{target}?{query}" if query else target


class _Mirror:
    """The client of one mirror host, and the copies on their way to it."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._client = httpx2.AsyncClient(timeout=_TIMEOUT_S, verify=False, trust_env=False)
        self._copies = Errands("pingsix-mirror", MAX_IN_FLIGHT)

    def send(self, ctx: Context, target: str, body: bytes) -> None:
        if not self._copies.has_room():
            return
        headers = [pair for pair in ctx.request.headers if pair[0] not in HOP_BY_HOP]
        self._copies.start(self._send(ctx.request.method, target, headers, body))

    async def aclose(self) -> None:
        await self._copies.aclose()
        await self._client.aclose()

    async def _send(
        self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        try:
            await self._client.request(method, self._host + target, headers=headers, content=body)
        except httpx2.HTTPError as error:
            logger.debug("mirror %s: %s", self._host, error)
