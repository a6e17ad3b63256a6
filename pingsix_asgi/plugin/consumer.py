"""Consumers as auth plugins see them: find one by its credential, attach it to the request."""

from __future__ import annotations

from typing import Any, Final, Protocol

from ..context import Consumer, Context
from ..http.response import Response, json_reply

_IDENTITY: Final = (b"x-consumer-username", b"x-credential-identifier", b"x-consumer-custom-id")


class Identified(Protocol):
    """A consumer found by a credential, with the auth conf that the credential belongs to."""

    consumer: Consumer
    conf: Any
    """The auth plugin's validated ConsumerConf of this consumer or credential."""


class Consumers(Protocol):
    """All consumers that one auth plugin can identify, indexed by the plugin's consumer_key."""

    def find(self, value: str) -> Identified | None:
        """Return who has the credential ``value``; a lookup independent of their number."""

    def by_name(self, username: str) -> Consumer | None:
        """Return the consumer called ``username``."""


def attach(ctx: Context, consumer: Consumer) -> None:
    """Make ``consumer`` the caller of this request and tell the upstream who it is.

    Each of the three headers is set, or removed when there is no value, so a client cannot
    pretend. Source: APISIX apisix/consumer.lua.
    """
    ctx.consumer = consumer
    values = (consumer.username, consumer.credential_id, consumer.custom_id)
    for name, value in zip(_IDENTITY, values, strict=True):
        if value:
            ctx.request.headers.set(name, value.encode())
        elif name in ctx.request.headers:
            ctx.request.headers.remove(name)


def attach_nobody(ctx: Context) -> None:
    """Let a request pass without a consumer: take away what its client says of being one.

    Whom another plugin attached before stays.
    """
    if ctx.consumer is None:
        ctx.request.headers.remove(*_IDENTITY)


def attach_anonymous(
    ctx: Context, consumers: Consumers, username: str, challenge: bytes
) -> Response | None:
    """Attach ``anonymous_consumer`` after a failed authentication; a 401 if it does not exist."""
    consumer = consumers.by_name(username)
    if consumer is None:
        return json_reply(
            401, {"message": "Invalid user authorization"}, [(b"www-authenticate", challenge)]
        )
    attach(ctx, consumer)
    return None
