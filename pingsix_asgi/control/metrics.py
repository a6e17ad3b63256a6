"""The page that Prometheus reads."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from .. import __version__
from ..middleware.prometheus import FAMILIES
from ..shared.metrics import Family, Keeper, Sample, gateway_metrics, write_text

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
PREFIX = "apisix_"
"""What every name starts with. Source: APISIX's default ``metric_prefix``."""

NODE_INFO = Family("node_info", "Info of this gateway", "gauge", ("hostname", "version"))
ETCD_REACHABLE = Family("etcd_reachable", "Config server etcd reachable, 0 is unreachable", "gauge")
UPSTREAM_STATUS = Family(
    "upstream_status", "Upstream status from health checks", "gauge", ("name", "ip", "port")
)


def render_metrics(
    keeper: Keeper, samples: Iterable[Sample] = (), *, prefix: str = PREFIX
) -> bytes:
    """Return all metrics of the gateway, of all its workers where they share, as text.

    ``keeper`` is the runtime (or a plugin's host). ``samples`` are gauges that somebody else knows,
    e.g. ``Sample(ETCD_REACHABLE, 1.0)`` or ``Sample(UPSTREAM_STATUS, 1.0, (name, ip, port))``.
    """
    node = Sample(NODE_INFO, 1.0, (socket.gethostname(), __version__))
    return write_text(gateway_metrics(keeper), FAMILIES, [node, *samples], prefix).encode()
