"""Health checks of an upstream. Defaults are APISIX's; PingSIX's differ when a part is left out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ..types import JSON
from .base import Model
from .fields import HostPattern, Unique

Status = Annotated[int, Field(ge=200, le=599)]
Threshold = Annotated[int, Field(ge=1, le=254)]
Statuses = Annotated[Unique[Status], Field(min_length=1)]
Interval = Annotated[float, Field(ge=1)]


def _header_line(value: str) -> str:
    name, colon, _ = value.partition(":")
    if not colon or not name.strip() or any(mark in value for mark in "\r\n\0"):
        raise ValueError('expected "Name: value"')
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/") or any(mark in value for mark in " \r\n\0"):
        raise ValueError("expected a path that starts with / and holds no white space")
    return value


def _no_passive(value: JSON) -> None:
    if value is not None:
        raise ValueError("not supported: only active checks are")


class Healthy(Model):
    """When a node that is down comes back: ``successes`` in a row, probed every ``interval`` s."""

    interval: Interval = 1
    http_statuses: Statuses = (200, 302)
    successes: Threshold = 2


class Unhealthy(Model):
    """When a node that is up goes down: so many failures of one sort in a row."""

    interval: Interval = 1
    http_statuses: Statuses = (429, 404, 500, 501, 502, 503, 504, 505)
    http_failures: Threshold = 5
    tcp_failures: Threshold = 2
    timeouts: Threshold = 3


class Active(Model):
    """Probes the gateway sends; ``timeout`` in seconds for one probe.

    ``port`` None probes the node's own; ``host`` None sends the node's.
    """

    type: Literal["http", "https", "tcp"] = "http"
    timeout: Annotated[float, Field(gt=0)] = 1
    concurrency: Annotated[int, Field(ge=1)] = 10
    host: HostPattern | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    http_path: Annotated[str, AfterValidator(_absolute)] = "/"
    http_method: Literal["GET", "HEAD", "POST", "PUT", "OPTIONS"] = "GET"
    http_req_body: str = ""
    https_verify_certificate: bool = True
    req_headers: (
        Annotated[Unique[Annotated[str, AfterValidator(_header_line)]], Field(min_length=1)] | None
    ) = None
    healthy: Healthy = Healthy()
    unhealthy: Unhealthy = Unhealthy()


class Checks(Model):
    """Health checks; ``active`` is required."""

    active: Active
    passive: Annotated[None, BeforeValidator(_no_passive)] = None
