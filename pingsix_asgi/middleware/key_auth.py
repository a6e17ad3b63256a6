"""Authenticate by a key in a header or in the query."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated
from urllib.parse import unquote_plus

from pydantic import Field

from ..context import Context
from ..http.response import Response, json_reply
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..plugin.consumer import attach, attach_anonymous, attach_nobody
from ..plugin.credentials import sole
from ..plugin.fields import Realm


class KeyAuth(Plugin):
    """Find the consumer with this key, or compare with the keys in the conf.

    The header is looked at first; when it is there the query does not count. ``key`` and ``keys``
    in the conf are PingSIX's: a request with one of them passes without a consumer.
    Source: apisix/plugins/key-auth.lua.
    """

    name = "key-auth"
    priority = 2500
    kind = "auth"
    encrypted = ("key", "keys")
    consumer_key = "key"

    class Conf(PluginConf):
        header: Annotated[str, Field(min_length=1)] = "apikey"
        """Header with the key."""
        query: str = "apikey"
        """Name of the query argument; "" looks at the header only."""
        hide_credentials: bool = False
        """Do not pass the key on."""
        realm: Realm = "key"
        """Realm of the challenge in a 401."""
        anonymous_consumer: Annotated[str, Field(min_length=1)] | None = None
        """Consumer that requests without a valid key are taken for."""
        key: Annotated[str, Field(min_length=1)] | None = None
        """PingSIX's way without consumers: the key."""
        keys: Annotated[list[Annotated[str, Field(min_length=1)]], Field(default_factory=list)]
        """Further keys, to change one without a gap."""

    class ConsumerConf(PluginConf):
        key: Annotated[str, Field(min_length=1)]
        """The consumer's key."""

    def __init__(self, conf: Conf) -> None:
        self._header = conf.header.lower().encode("latin-1")
        self._query = conf.query
        self._hide = conf.hide_credentials
        self._challenge = f'apikey realm="{conf.realm}"'.encode()
        self._anonymous = conf.anonymous_consumer
        own = conf.keys or ([conf.key] if conf.key else [])
        self._own = [_digest(key) for key in own]
        self._missing = self._refusal("Missing API key in request")
        self._invalid = self._refusal("Invalid API key in request")

    def setup(self, host: Host) -> None:
        self._consumers = host.consumers(self.name)

    def rewrite(self, ctx: Context) -> Reply:
        sent = sole(ctx.request.headers, self._header)
        key = self._from_query(ctx) if sent is None else sent.decode("latin-1")
        refusal = self._missing if key is None else self._identify(ctx, key)
        if refusal is None:
            if self._hide:
                self._hide_from(ctx, header=sent is not None, query=sent is None)
            return None
        if self._anonymous is None:
            return refusal
        reply = attach_anonymous(ctx, self._consumers, self._anonymous, self._challenge)
        if reply is None and self._hide:
            self._hide_from(ctx, header=True, query=True)
        return reply

    def _identify(self, ctx: Context, key: str) -> Response | None:
        """Attach the caller who has ``key``; a refusal when nobody has."""
        if self._own and self._is_own(key):
            attach_nobody(ctx)
            return None
        found = self._consumers.find(key) if key else None
        if found is None:
            return self._invalid
        attach(ctx, found.consumer)
        return None

    def _is_own(self, key: str) -> bool:
        given = _digest(key)
        matches = False
        for own in self._own:  # every one, so that time tells nothing about which
            matches |= hmac.compare_digest(given, own)
        return matches

    def _from_query(self, ctx: Context) -> str | None:
        """Return the key argument; "" (no key) when it is bare or repeated, None when absent."""
        if not ctx.request.query or not self._query:
            return None
        parts = ctx.request.query.decode("latin-1").split("&")
        values = [part.partition("=")[2] for part in parts if self._is_key(part)]
        if not values:
            return None
        return unquote_plus(values[0]) if len(values) == 1 else ""

    def _is_key(self, part: str) -> bool:
        return unquote_plus(part.partition("=")[0]) == self._query

    def _hide_from(self, ctx: Context, *, header: bool, query: bool) -> None:
        request = ctx.request
        if header:
            request.headers.remove(self._header)
        if query and request.query and self._query:
            parts = request.query.decode("latin-1").split("&")
            kept = [part for part in parts if not self._is_key(part)]
            request.query = "&".join(kept).encode("latin-1")

    def _refusal(self, problem: str) -> Response:
        return json_reply(401, {"message": problem}, [(b"www-authenticate", self._challenge)])


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
