"""Allow or deny by consumer, consumer group, service or route."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..context import Context
from ..http.response import json_reply
from ..plugin.base import Plugin, PluginConf, Reply

Names = Annotated[list[str], Field(min_length=1)]
Method = Literal[
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PURGE"
]


class AllowedMethods(PluginConf):
    """Methods one consumer may use."""

    user: str
    """Consumer."""
    methods: Annotated[list[Method], Field(min_length=1)]
    """Methods it may use."""


class ConsumerRestriction(Plugin):
    """Check who (or which route or service) is asking: black list, white list, then methods.

    With a white list the methods are not looked at: who is on it may use all, nobody else any.
    A consumer without an entry in ``allowed_by_methods`` may use all.
    Source: apisix/plugins/consumer-restriction.lua.
    """

    name = "consumer-restriction"
    priority = 2400
    needs_gateway = "consumers, routes and services are the gateway's"

    class Conf(PluginConf):
        type: Literal["consumer_name", "consumer_group_id", "service_id", "route_id"] = (
            "consumer_name"
        )
        """What is compared with the lists."""
        blacklist: Names | None = None
        """Who may not pass. At least one of the lists is required."""
        whitelist: Names | None = None
        """Who may pass; nobody else does."""
        allowed_by_methods: list[AllowedMethods] | None = None
        """Methods by consumer, without a ``whitelist``."""
        rejected_code: Annotated[int, Field(ge=200)] = 403
        """Status of a refusal."""
        rejected_msg: str | None = None
        """Text of a refusal."""

        @model_validator(mode="after")
        def _some_list(self) -> Self:
            lists = (self.blacklist, self.whitelist, self.allowed_by_methods)
            if all(one is None for one in lists):
                raise ValueError(
                    "object matches none of the required: "
                    '["blacklist"] or ["whitelist"] or ["allowed_by_methods"]'
                )
            return self

    def __init__(self, conf: Conf) -> None:
        self._type = conf.type
        self._black = frozenset(conf.blacklist or ())
        self._white = frozenset(conf.whitelist) if conf.whitelist else None
        self._methods = {
            rule.user: frozenset(rule.methods) for rule in conf.allowed_by_methods or ()
        }
        text = conf.rejected_msg or f"The {conf.type} is forbidden."
        self._reply = json_reply(conf.rejected_code, {"message": text})
        self._unknown = json_reply(
            401,
            {"message": f"The request is rejected, please check the {conf.type} for this request"},
        )

    def access(self, ctx: Context) -> Reply:
        value = self._value(ctx)
        if not value:
            return self._unknown
        if value in self._black:
            return self._reply
        if self._white is not None:
            return None if value in self._white else self._reply
        methods = self._methods.get(value)
        return None if methods is None or ctx.request.method in methods else self._reply

    def _value(self, ctx: Context) -> str | None:
        match self._type:
            case "consumer_name":
                return ctx.consumer.username if ctx.consumer else None
            case "consumer_group_id":
                return ctx.consumer.group_id if ctx.consumer else None
            case "service_id":
                return ctx.match.info.service_id
            case "route_id":
                return ctx.match.info.route_id
