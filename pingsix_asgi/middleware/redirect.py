"""Send the client elsewhere."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ..context import Context
from ..errors import SchemaError
from ..expr.substitution import compile_pairs, first_match
from ..expr.template import Template
from ..expr.variables import getter
from ..http.addresses import AddressSet
from ..http.path import encode_path
from ..http.response import Response, error_page
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..plugin.surroundings import Surroundings

_HTTPS = 443
_BAD_PAIR = "invalid {} ({}, {}), err:{}"
_UNSAFE = re.compile(r"[^\x21-\x7e]")
"""What must not stand in a Location as it is: controls (header injection), spaces, non-ASCII."""
_BACKSLASH = re.compile(r"(\\\$?)")
"""A backslash of the conf stays, and what it escapes is no variable."""
_TOO_FEW = "expect array to have at least 2 items"


def _pairs(texts: list[str]) -> list[str]:
    """Let an empty list pass: PingSIX wants the field beside the other ways."""
    if len(texts) == 1:
        raise ValueError(_TOO_FEW)
    return texts


class Redirect(Plugin):
    """Answer with a Location: a fixed or templated one, a rewritten path, or the https scheme.

    X-Forwarded-Proto of a peer in ``trusted_proxies``, or in the gateway's ``trusted_addresses``,
    tells how the client came. Source: apisix/plugins/redirect.lua. ``redirect_host``,
    ``trusted_proxies`` and more than one pair in ``regex_uri`` are PingSIX's, ``https_port`` is
    ours. Differs: spaces, controls and non-ASCII characters in a Location are encoded, and
    backslashes where values of the request are in it.
    """

    name = "redirect"
    priority = 900

    class Conf(PluginConf):
        ret_code: Annotated[int, Field(ge=200, le=599)] = 302
        """Status, with ``uri`` and ``regex_uri``."""
        uri: Annotated[str, Field(min_length=2)] | None = None
        """Where to, a template. One of this, ``regex_uri`` and ``http_to_https`` is required."""
        regex_uri: Annotated[list[str], AfterValidator(_pairs)] | None = None
        """Pattern and replacement, or several pairs."""
        http_to_https: bool | None = None
        """Redirect http to https: 301 for GET and HEAD, 308 for others."""
        encode_uri: bool = False
        """Encode what is not allowed in a Location."""
        append_query_string: bool = False
        """Keep the query."""
        redirect_host: Annotated[str, Field(min_length=1)] | None = None
        """Host, and port, of http_to_https; the request's host when it is not given."""
        trusted_proxies: Annotated[list[str], Field(default_factory=list)]
        """Peers whose X-Forwarded-Proto is believed, beside ``trusted_addresses``."""
        https_port: Annotated[int, Field(ge=1, le=65535)] | None = None
        """Port of http_to_https, by default that of the first listener with TLS; not for 443."""

        @model_validator(mode="after")
        def _exactly_one(self) -> Self:
            given = [self.uri is not None, bool(self.regex_uri), self.http_to_https is not None]
            chosen = [index + 1 for index, is_given in enumerate(given) if is_given]
            if not chosen and self.regex_uri is not None:
                raise ValueError(f'property "regex_uri" validation failed: {_TOO_FEW}')
            if not chosen:
                raise ValueError("value should match only one schema, but matches none")
            if len(chosen) > 1:
                raise ValueError(
                    "value should match only one schema, "
                    f"but matches both schemas {chosen[0]} and {chosen[1]}"
                )
            if self.http_to_https and self.append_query_string:
                raise ValueError(
                    "only one of `http_to_https` and `append_query_string` can be configured."
                )
            return self

    def __init__(self, conf: Conf) -> None:
        self._status = conf.ret_code
        parts = _BACKSLASH.split(conf.uri) if conf.uri else ()
        self._uri = [part if index % 2 else Template(part) for index, part in enumerate(parts)]
        self.needs_body = Template(conf.uri or "").needs_body
        self._to_https = bool(conf.http_to_https)
        self._substitutions = compile_pairs(conf.regex_uri or [], "regex_uri", _BAD_PAIR)
        self._encode = conf.encode_uri
        self._backslash = "\\" if conf.encode_uri else "%5C"
        """For one of the client's: browsers read it as a slash, "/\\other.test" is another host."""
        self._append_query = conf.append_query_string
        self._host = conf.redirect_host
        self._port = conf.https_port
        self._request_uri = getter("request_uri")
        try:
            self._proxies = AddressSet(conf.trusted_proxies)
        except ValueError as error:
            raise SchemaError(str(error), path="trusted_proxies") from None

    def setup(self, host: Host) -> None:
        around = host.keep(Surroundings, Surroundings)
        self._trusted = around.trusted
        port = self._port or around.https_port
        self._suffix = "" if port is None or port == _HTTPS else f":{port}"

    def rewrite(self, ctx: Context) -> Reply:
        if self._to_https:
            return self._secure(ctx)
        uri = self._rendered(ctx) if self._uri else self._rewritten(ctx)
        if uri is None:
            return None
        if self._encode:
            path, mark, query = uri.partition("?")
            uri = encode_path(path).decode("ascii") + mark + query
        if self._append_query and ctx.request.query:
            separator = "&" if "?" in uri else "?"
            uri += separator + ctx.request.query.decode("latin-1")
        return _redirect(self._status, uri)

    def _secure(self, ctx: Context) -> Reply:
        request = ctx.request
        scheme = request.scheme
        forwarded = request.headers.get(b"x-forwarded-proto")
        peer = request.client[0]
        if forwarded and (peer in self._proxies or peer in self._trusted):
            scheme = forwarded.decode("latin-1").strip().lower()
        if scheme in ("https", "wss"):
            return None
        status = 301 if request.method in ("GET", "HEAD") else 308
        host = self._host or f"{request.host}{self._suffix}"
        return _redirect(status, f"https://{host}{self._request_uri(ctx)}")

    def _rewritten(self, ctx: Context) -> str | None:
        found, uri = first_match(self._substitutions, ctx.request.path)
        return None if found is None else uri.replace("\\", self._backslash)

    def _rendered(self, ctx: Context) -> str:
        return "".join(
            part if isinstance(part, str) else part.render(ctx).replace("\\", self._backslash)
            for part in self._uri
        )


def _redirect(status: int, location: str) -> Response:
    safe = _UNSAFE.sub(_encoded, location).encode("ascii")
    return error_page(status, [(b"location", safe)])


def _encoded(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))
