"""What a health check asks and how it judges: values compiled from ``checks``.

They are hashable: equal checks share one prober, so an unchanged check survives any other change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ...model.checks import Active
from ...model.upstream import Upstream
from ..node import Node, TLSOptions


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Outcomes in a row that turn the verdict; 0 disables."""

    success: int = 2
    http_failure: int = 5
    tcp_failure: int = 2
    timeout_failure: int = 3


@dataclass(frozen=True, slots=True)
class Check:
    """An active check. Times are seconds; ``port`` None is the node's.

    ``host`` is asked for at every node; without it a node's own name is, also with
    ``prefers_node_name`` when it has one. ``tls`` is set for https.
    """

    type: Literal["http", "https", "tcp"] = "http"
    timeout_s: float = 1.0
    concurrency: int = 10
    host: str | None = None
    prefers_node_name: bool = False
    port: int | None = None
    path: str = "/"
    method: str = "GET"
    body: str = ""
    headers: tuple[str, ...] = ()
    tls: TLSOptions | None = None
    healthy_statuses: frozenset[int] = frozenset({200, 302})
    unhealthy_statuses: frozenset[int] = frozenset({404, 429, 500, 501, 502, 503, 504, 505})
    healthy_interval_s: float = 1.0
    unhealthy_interval_s: float = 1.0
    thresholds: Thresholds = Thresholds()

    def host_of(self, node: Node) -> str:
        """Return the name to ask ``node`` for, in Host and in TLS."""
        if self.prefers_node_name and node.host != node.address:
            return node.host
        return self.host or node.host


def compile_check(upstream: Upstream, tls: TLSOptions | None) -> Check | None:
    """Return the active check of an upstream, or None when it has none.

    ``tls``, when the upstream itself is https, gives client certificate and trusted authorities.

    Host is ``upstream_host`` when the upstream rewrites to it, else ``checks.active.host``, else
    the node's; with ``pass_host: node`` the node's name comes before ``checks.active.host``.

    Source: APISIX apisix/healthcheck_manager.lua. Differs: the last resort is the node's name, not
    its address.
    """
    if upstream.checks is None:
        return None
    active = upstream.checks.active
    host_from = upstream.pass_host
    return Check(
        type=active.type,
        timeout_s=active.timeout,
        concurrency=active.concurrency,
        host=upstream.upstream_host if host_from == "rewrite" else active.host,
        prefers_node_name=host_from == "node",
        port=active.port,
        path=active.http_path,
        method=active.http_method,
        body=active.http_req_body,
        headers=tuple(active.req_headers or ()),
        tls=_probe_tls(active, tls or TLSOptions()) if active.type == "https" else None,
        healthy_statuses=frozenset(active.healthy.http_statuses),
        unhealthy_statuses=frozenset(active.unhealthy.http_statuses),
        healthy_interval_s=active.healthy.interval,
        unhealthy_interval_s=active.unhealthy.interval,
        thresholds=Thresholds(
            success=active.healthy.successes,
            http_failure=active.unhealthy.http_failures,
            tcp_failure=active.unhealthy.tcp_failures,
            timeout_failure=active.unhealthy.timeouts,
        ),
    )


def _probe_tls(active: Active, tls: TLSOptions) -> TLSOptions:
    return replace(tls, verify=active.https_verify_certificate)
