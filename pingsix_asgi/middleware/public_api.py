"""Expose an API of the gateway itself on a route, behind the route's other plugins."""

from __future__ import annotations

from ..context import Context
from ..http.response import NOT_FOUND
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..plugin.internal_api import internal_apis


class PublicApi(Plugin):
    """Answer a GET with the internal API at ``uri``, or at the request's own path.

    Source: apisix/plugins/public-api.lua. Differs: the only internal API is
    ``/apisix/prometheus/metrics``.
    """

    name = "public-api"
    priority = 501
    needs_gateway = "it shows pages of the gateway"

    class Conf(PluginConf):
        uri: str | None = None
        """Path of the internal API; the request's path when it is not given."""

    def __init__(self, conf: Conf) -> None:
        self._uri = conf.uri

    def setup(self, host: Host) -> None:
        self._apis = internal_apis(host)

    def access(self, ctx: Context) -> Reply:
        handler = self._apis.get(self._uri or ctx.request.path)
        return handler() if handler is not None and ctx.request.method == "GET" else NOT_FOUND
