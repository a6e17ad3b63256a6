"""Authenticate by user name and password (RFC 7617)."""

from __future__ import annotations

import hmac
import re
from typing import Annotated, Self

from pydantic import Field, model_validator

from ..context import Context
from ..http.response import Response, json_reply
from ..model.base import Located
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..plugin.consumer import attach, attach_anonymous, attach_nobody
from ..plugin.credentials import sole
from ..plugin.encoded import from_base64
from ..plugin.fields import Realm

_SCHEME = re.compile(r"basic\s+(\S+)", re.IGNORECASE)


class BasicAuth(Plugin):
    """Find the consumer with this user name and password, or compare with those in the conf.

    Source: apisix/plugins/basic-auth.lua; ``username`` and ``password`` in the conf are PingSIX's.
    A request that repeats Authorization gets 400, as from nginx. Differs: a password may contain
    ":" and white space.
    """

    name = "basic-auth"
    priority = 2520
    kind = "auth"
    encrypted = ("password",)
    consumer_key = "username"

    class Conf(PluginConf):
        hide_credentials: bool = False
        """Do not pass Authorization on."""
        realm: Realm = "basic"
        """Realm of the challenge in a 401."""
        anonymous_consumer: Annotated[str, Field(min_length=1)] | None = None
        """Consumer that requests without valid credentials are taken for."""
        username: Annotated[str, Field(min_length=1)] | None = None
        """PingSIX's way without consumers: the only user."""
        password: Annotated[str, Field(min_length=1)] | None = None
        """The password of ``username``."""

        @model_validator(mode="after")
        def _pair(self) -> Self:
            if (self.username is None) != (self.password is None):
                missing = "username" if self.username is None else "password"
                raise Located("username and password go together", missing)
            return self

    class ConsumerConf(PluginConf):
        username: str
        """Name to log in by."""
        password: str
        """Password."""

    def __init__(self, conf: Conf) -> None:
        self._hide = conf.hide_credentials
        self._challenge = f'Basic realm="{conf.realm}"'.encode()
        self._anonymous = conf.anonymous_consumer
        self._own = (conf.username, conf.password) if conf.username and conf.password else None

    def setup(self, host: Host) -> None:
        self._consumers = host.consumers(self.name)

    def rewrite(self, ctx: Context) -> Reply:
        problem = self._authenticate(ctx)
        if problem is not None:
            if self._anonymous is None:
                return self._refusal(problem)
            reply = attach_anonymous(ctx, self._consumers, self._anonymous, self._challenge)
            if reply is not None:
                return reply
        if self._hide:
            ctx.request.headers.remove(b"authorization")
        return None

    def _authenticate(self, ctx: Context) -> str | None:
        """Attach the caller. Returns what is wrong, or None."""
        header = sole(ctx.request.headers, b"authorization")
        if header is None:
            return "Missing authorization in request"
        credentials = _credentials(header)
        if credentials is None:
            return "Invalid authorization in request"
        user, password = credentials
        if self._own is not None:
            if not (_equal(user, self._own[0]) & _equal(password, self._own[1])):
                return "Invalid user authorization"
            attach_nobody(ctx)
            return None
        found = self._consumers.find(user)
        if found is None or not _equal(password, found.conf.password):
            return "Invalid user authorization"
        attach(ctx, found.consumer)
        return None

    def _refusal(self, problem: str) -> Response:
        return json_reply(401, {"message": problem}, [(b"www-authenticate", self._challenge)])


def _credentials(header: bytes) -> tuple[str, str] | None:
    found = _SCHEME.search(header.decode("latin-1"))
    if found is None:
        return None
    try:
        text = from_base64(found[1]).decode()
    except ValueError:
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon else None


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
