"""The upstream: where requests go and how a node is chosen.

Fields and constraints are APISIX's (apisix/schema_def.lua) with PingSIX's names beside. Fields that
have no effect in this version are refused by name.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ..types import JSON
from .base import Located, Model, Plain, Several, json_type
from .checks import Checks
from .fields import HOST_PATTERN, ID, Many, Resource, Timeout, pem

LOCAL_HOST = "@app"
"""Host of the node that stands for the wrapped app."""
_NODE_HOST = rf"^({LOCAL_HOST}|[0-9a-zA-Z-._:]+)$"
_ONE_SCHEMA = "value should match only one schema"
HASH_VARS_PATTERN = (
    r"^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|hostname"
    r"|mqtt_client_id)|arg_[0-9a-zA-z_-]+)$"
)
HASH_FIELD_PATTERN = r"^[a-zA-Z0-9-_]+$"

Port = Annotated[int, Field(ge=1, le=65535)]


class Node(Model):
    """One entry of ``nodes``; ``port`` None takes the scheme's."""

    host: Annotated[str, Field(pattern=_NODE_HOST)]
    port: Port | None = None
    weight: Annotated[int, Field(ge=0)]
    priority: int = 0
    metadata: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _host_with_port(cls, node: JSON) -> JSON:
        """Read the host; it may bring the port along when there is no ``port``."""
        if not isinstance(node, dict) or not isinstance(host := node.get("host"), str):
            return node
        if node.get("port") is None and host.count(":") == 1:
            name, port = split_node(host)
            return {**node, "host": name, "port": port}
        return {**node, "host": host.strip("[]")}


def split_node(text: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port``, ``[IPv6]:port`` or a bare IPv6 address.

    The host comes without brackets. Raises ValueError.
    """
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f'node "{text}": expected host, host:port or [IPv6]:port')
        port = rest[1:] if rest else ""
        if rest == ":":
            raise ValueError(f'node "{text}": the port is missing')
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            raise ValueError(f'node "{text}": the port is missing')
    if not host:
        raise ValueError(f'node "{text}": the host is missing')
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit()):
        raise ValueError(f'node "{text}": expected a port from 1 to 65535')
    if not 1 <= int(port) <= 65535:
        raise Plain(f"invalid port {port}")
    return host, int(port)


def _node_list(value: JSON) -> JSON:
    """Turn the map form ``{"host:port": weight}`` into the list form."""
    if isinstance(value, dict):
        return _mapped_nodes(value)
    if not isinstance(value, list | tuple):
        raise ValueError("object matches none of the required")
    return value


def _mapped_nodes(nodes: dict[str, JSON]) -> JSON:
    found: list[JSON] = []
    wrong: list[Located] = []
    odd: list[Located] = []
    """Hosts that Node will refuse, in words of its own if nothing else is wrong."""
    for text, weight in nodes.items():
        try:
            node = _mapped_node(text, weight)
        except ValueError as error:
            told = Plain if isinstance(error, Plain) else Located
            wrong.append(told(str(error), text))
            continue
        found.append(node)
        if not _matches(_NODE_HOST, node["host"]):
            odd.append(Located(f'node "{text}": neither a host name nor an address', text))
    if wrong:
        raise Several([*wrong, *odd])
    return found


def _mapped_node(text: str, weight: JSON) -> dict[str, Any]:
    host, port = split_node(text)
    if not isinstance(weight, int) or isinstance(weight, bool):
        raise ValueError(
            f'node "{text}": wrong type of weight: expected integer, got {json_type(weight)}'
        )
    if weight < 0:
        raise ValueError(f'node "{text}": expected weight {weight} to be at least 0')
    return {"host": host, "port": port, "weight": weight}


def _header_for_head(value: str) -> str:
    return "header" if value == "head" else value


def _only_http(value: JSON) -> JSON:
    if value in ("grpc", "grpcs", "tcp", "tls", "udp", "kafka"):
        raise ValueError(f"scheme {value} is not supported")
    return value


def _only_dns(value: JSON) -> JSON:
    if isinstance(value, str) and value != "dns":
        raise ValueError(f"discovery type {value} is not supported, only dns is")
    return value


def _no_discovery_args(value: JSON) -> JSON:
    if value:
        raise ValueError("not supported: dns discovery takes no arguments")
    return None


def _service(value: str) -> str:
    split_node(value)
    return value


PEM = Annotated[str, Field(min_length=128, max_length=64 * 1024)]
PEMKey = Annotated[str, pem(64)]


class KeepalivePool(Model):
    """Idle connections kept per node, seconds they are kept, requests each serves."""

    size: Annotated[int, Field(ge=1)] = 320
    idle_timeout: Annotated[float, Field(ge=0)] = 60
    requests: Annotated[int, Field(ge=1)] = 1000


class TLS(Model):
    """How nodes are spoken to over TLS.

    The certificate to show is here, or in the resource of ``ssls`` that ``client_cert_id`` names.
    ``verify`` None takes ``pingsix.defaults.upstream_tls_verify``, which is false as in APISIX.
    """

    client_cert: PEM | None = None
    client_key: PEMKey | None = None
    client_cert_id: ID | None = None
    verify: bool | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        for given, other in (("client_cert", "client_key"), ("client_key", "client_cert")):
            lead = f'failed to validate dependent schema for "{given}": '
            if getattr(self, given) is not None and getattr(self, other) is None:
                raise ValueError(f'{lead}property "{other}" is required')
            if getattr(self, given) is not None and self.client_cert_id is not None:
                raise ValueError(f"{lead}value wasn't supposed to match schema")
        return self


class WarmUp(Model):
    """Slow start: the weight of a node that joins grows from ``min_weight_percent`` to all of it.

    Its weight is looked at again every ``interval`` seconds. ``aggression`` above 1 grows faster at
    first. Nodes that join in the first ``startup_grace_period_seconds`` have their whole weight.
    """

    slow_start_time_seconds: Annotated[int, Field(ge=1)]
    min_weight_percent: Annotated[int, Field(ge=1, le=100)]
    interval: Annotated[int, Field(ge=1)] = 1
    aggression: Annotated[float, Field(ge=0.01)] = 1
    startup_grace_period_seconds: Annotated[int, Field(ge=0)] = 0


class Upstream(Resource):
    """A set of nodes with a balancing rule. Times are seconds.

    Defaults: ``retries`` None is one per further node, ``timeout`` None the gateway's default,
    ``retry_timeout`` 0 no limit. ``hash_on: head`` is read as ``header``.
    """

    type: Literal["roundrobin", "random", "fnv", "ketama", "chash", "ewma", "least_conn"] = (
        "roundrobin"
    )
    nodes: Annotated[Many[Node], BeforeValidator(_node_list)] | None = None
    service_name: (
        Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_service)] | None
    ) = None
    discovery_type: Annotated[Literal["dns"], BeforeValidator(_only_dns)] | None = None
    discovery_args: Annotated[None, BeforeValidator(_no_discovery_args)] = None
    hash_on: Annotated[
        Literal["vars", "header", "head", "cookie", "consumer", "vars_combinations"],
        AfterValidator(_header_for_head),
    ] = "vars"
    key: str | None = None
    scheme: Annotated[Literal["http", "https"], BeforeValidator(_only_http)] = "http"
    pass_host: Literal["pass", "node", "rewrite"] = "pass"  # noqa: S105 - no password
    upstream_host: Annotated[str, Field(pattern=HOST_PATTERN)] | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    retry_timeout: Annotated[float, Field(ge=0)] | None = None
    timeout: Timeout | None = None
    checks: Checks | None = None
    keepalive_pool: KeepalivePool | None = None
    tls: TLS | None = None
    warm_up_conf: WarmUp | None = None

    @model_validator(mode="after")
    def _nodes_or_discovery(self) -> Self:
        discovered = self.service_name is not None and self.discovery_type is not None
        if self.nodes is not None and discovered:
            text = f"{_ONE_SCHEMA}, but matches both schemas 1 and 2"
            raise Located(text, "nodes", hint="give nodes or service_name, not both")
        if self.nodes is None and not discovered:
            hint = "nodes are needed, or service_name with discovery_type"
            raise Located(f"{_ONE_SCHEMA}, but matches none", "nodes", hint=hint)
        return self

    @model_validator(mode="after")
    def _host_to_rewrite(self) -> Self:
        if self.pass_host == "rewrite" and not self.upstream_host:  # noqa: S105 - no password
            text = "`upstream_host` can't be empty when `pass_host` is `rewrite`"
            raise Plain(text, "upstream_host")
        return self

    @model_validator(mode="after")
    def _can_warm_up(self) -> Self:
        conf = self.warm_up_conf
        if conf is None:
            return self
        if self.type != "roundrobin":
            text = "warm_up_conf is only supported by the roundrobin upstream type"
            raise Plain(text, "warm_up_conf")
        if conf.interval > conf.slow_start_time_seconds:
            raise Plain(
                "warm_up_conf.interval can't be greater than warm_up_conf.slow_start_time_seconds",
                "warm_up_conf",
                "interval",
            )
        if len({node.priority for node in self.nodes or ()}) > 1:
            raise Plain(
                "warm_up_conf doesn't support an upstream with nodes of different priorities",
                "warm_up_conf",
            )
        return self

    @model_validator(mode="after")
    def _hash_key(self) -> Self:
        # ketama and fnv are PingSIX's and default to the path; only chash is checked by APISIX
        if self.type == "chash" and self.hash_on != "consumer" and self.key is None:
            hint = "chash needs a key: what to hash of a request"
            raise Plain("missing key", "key", hint=hint)
        pattern = {
            "vars": HASH_VARS_PATTERN,
            "header": HASH_FIELD_PATTERN,
            "cookie": HASH_FIELD_PATTERN,
        }.get(self.hash_on)
        if self.key is not None and pattern and not _matches(pattern, self.key):
            hint = f"not to be hashed with hash_on {self.hash_on}"
            raise Plain(f'failed to match pattern "{pattern}" with "{self.key}"', "key", hint=hint)
        return self


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None
