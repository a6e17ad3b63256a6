"""Health checks of an upstream. Defaults are APISIX's; PingSIX's differ when a part is left out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, model_validator

from ..types import JSON
from .base import Model
from .fields import HostPattern, Unique

Status = Annotated[int, Field(ge=200, le=599)]
Threshold = Annotated[int, Field(ge=1, le=254)]
PassiveThreshold = Annotated[int, Field(ge=0, le=254)]
"""How many in a row; 0 switches this sort off."""
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


class PassiveHealthy(Model):
    """Answers to clients that speak for a node, and how many bring it back."""

    http_statuses: Statuses = (*range(200, 209), 226, *range(300, 309))
    successes: PassiveThreshold = 5


class PassiveUnhealthy(Model):
    """Answers to clients and failures that speak against a node, and how many take it out."""

    http_statuses: Statuses = (429, 500, 503)
    http_failures: PassiveThreshold = 5
    tcp_failures: PassiveThreshold = 2
    timeouts: PassiveThreshold = 7


class Passive(Model):
    """What requests of clients say about a node; with ``tcp`` statuses do not count."""

    type: Literal["http", "https", "tcp"] = "http"
    healthy: PassiveHealthy = PassiveHealthy()
    unhealthy: PassiveUnhealthy = PassiveUnhealthy()


class Checks(Model):
    """Health checks. ``active`` is required: only probes bring a node back that gets no request."""

    active: Active
    passive: Passive | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _active_is_needed(cls, value: JSON, handler: ModelWrapValidatorHandler[Checks]) -> Checks:
        if isinstance(value, dict) and value.get("active") is None:
            handler({**value, "active": {}})  # what is wrong with the rest is told first
            alternatives = '["active"] or ["active","passive"]'
            raise ValueError(f"object matches none of the required: {alternatives}")
        return handler(value)
