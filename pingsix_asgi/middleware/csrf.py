"""Double-submit protection against cross-site request forgery."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import random
from email.utils import formatdate
from typing import Any

from ..context import Context
from ..http.cookies import cookie
from ..http.response import Response, json_reply
from ..plugin.base import Host, Plugin, PluginConf, Reply

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Csrf(Plugin):
    """Want the token of our cookie back in a header of the same name for unsafe methods.

    A token is base64 of JSON with a random number, its time of birth (under the name "expires")
    and their SHA-256 with the key. Source: apisix/plugins/csrf.lua.
    Differs: random numbers come from the system's generator, signatures are compared in
    constant time; without an end of their validity cookies have no Expires, which APISIX sets to
    now or the past, so that browsers drop them at once.
    """

    name = "csrf"
    priority = 2980
    encrypted = ("key",)

    class Conf(PluginConf):
        key: str
        """Key that tokens are signed with."""
        expires: int = 7200
        """Seconds a token is valid; 0 or less: for ever."""
        name: str = "apisix-csrf-token"
        """Name of the cookie and of the header."""

    def __init__(self, conf: Conf) -> None:
        self._key = conf.key
        self._expires = conf.expires
        self._name = conf.name
        self._header = conf.name.lower().encode("latin-1")
        self._random = random.SystemRandom()

    def setup(self, host: Host) -> None:
        self._now = host.clock.time

    def access(self, ctx: Context) -> Reply:
        if ctx.request.method in _SAFE_METHODS:
            return None
        sent = ctx.request.headers.get(self._header)
        if not sent:
            return _refusal("no csrf token in headers")
        kept = cookie(ctx.request.headers, self._name)
        if kept is None:
            return _refusal("no csrf cookie")
        token = sent.decode("latin-1")
        if not hmac.compare_digest(sent, kept.encode("latin-1", "replace")):
            return _refusal("csrf token mismatch")
        if not self._is_valid(token):
            return _refusal("Failed to verify the csrf token signature")
        return None

    def header_filter(self, ctx: Context) -> None:
        now = int(self._now())
        number = self._random.random()
        token = {"random": number, "expires": now, "sign": self._sign(number, now)}
        text = base64.b64encode(json.dumps(token).encode()).decode()
        line = f"{self._name}={text};path=/;SameSite=Lax"
        if self._expires > 0:
            line += f";Expires={formatdate(now + self._expires, usegmt=True)}"
        ctx.response.headers.append(b"set-cookie", line.encode("latin-1"))

    def _is_valid(self, token: str) -> bool:
        try:
            fields: Any = json.loads(base64.b64decode(token, validate=True))
            number, born, sign = fields["random"], fields["expires"], fields["sign"]
        except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
            return False
        if not isinstance(born, int | float) or not isinstance(sign, str):
            return False
        if self._expires > 0 and self._now() - born > self._expires:
            return False
        return hmac.compare_digest(self._sign(number, born).encode(), sign.encode())

    def _sign(self, number: object, born: float) -> str:
        text = f"{{expires:{born},random:{number},key:{self._key}}}"
        return hashlib.sha256(text.encode()).hexdigest()


def _refusal(text: str) -> Response:
    return json_reply(401, {"error_msg": text})
