"""Send log entries to a collector over HTTP, in batches."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import httpx2
from pydantic import Field

from ..context import Context
from ..expr.variables import getter
from ..logs.batch import MAX_PENDING, BatchConf, Batcher, Meter
from ..logs.entry import dump
from ..logs.plugin import LogConf, LoggerPlugin
from ..plugin.base import Host
from ..types import JSON

_server_addr = getter("server_addr")


class HttpLogger(LoggerPlugin):
    """POST batches to ``uri``; a status of 400 or more is a failure and retried.

    The metrics ``batch_process_…`` bear the route of the first entry.
    Source: apisix/plugins/http-logger.lua.
    """

    name = "http-logger"
    priority = 410
    encrypted = ("auth_header",)
    may_lack_secrets = True

    class Conf(LogConf, BatchConf):
        name: str = "http logger"
        """Of the batches, in logs and in the metric."""
        log_format: dict[str, JSON] | None = None
        """Fields by name; unset: the default entry."""
        uri: Annotated[str, Field(pattern=r"^https?://.+")]
        """Where batches are posted to."""
        auth_header: str | None = None
        """Value of the Authorization header."""
        timeout: Annotated[int, Field(ge=1)] = 3
        """Seconds."""
        concat_method: Literal["json", "new_line"] = "json"
        """A list of entries, or a line for each."""
        ssl_verify: bool = False
        """Check the certificate of the collector."""

    def setup(self, host: Host) -> None:
        super().setup(host)
        self._keeper = host
        metadata: Any = host.metadata()
        limit = (metadata.max_pending_entries if metadata else None) or MAX_PENDING
        key = (self.name, host.owner, self.conf.model_dump_json(), limit)
        self._batcher = host.keep(
            key, lambda: _Collector(self.conf, f"{self.conf.name} {host.owner}", limit)
        )

    def entry(self, ctx: Context) -> Any:
        entry = super().entry(ctx)
        if not entry.get("route_id"):
            entry["route_id"] = "no-matched"
        return entry

    def emit(self, ctx: Context, entry: Any) -> None:
        if self._batcher.meter is None:
            route, address = ctx.match.info.route_id, str(_server_addr(ctx) or "")
            labels = (self.conf.name, route, address)
            self._batcher.meter = Meter(self._keeper, labels)
        self._batcher.push(entry)


class _Collector(Batcher):
    """A batcher with the HTTP client it delivers by."""

    def __init__(self, conf: HttpLogger.Conf, label: str, max_pending: int) -> None:
        super().__init__(label, conf, self._post, max_pending)
        self._options = conf
        self._client = httpx2.AsyncClient(
            timeout=conf.timeout, verify=conf.ssl_verify, trust_env=False
        )

    async def aclose(self) -> None:
        await super().aclose()
        await self._client.aclose()

    async def _post(self, batch: list[Any]) -> None:
        conf = self._options
        if conf.concat_method == "new_line":
            body, kind = "\n".join(dump(entry) for entry in batch), "text/plain"
        else:
            body = dump(batch[0] if conf.batch_max_size == 1 else batch)
            kind = "application/json"
        headers = {"content-type": kind}
        if conf.auth_header:
            headers["authorization"] = conf.auth_header
        answer = await self._client.post(conf.uri, content=body.encode(), headers=headers)
        answer.raise_for_status()
