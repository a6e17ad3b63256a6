"""What a hashing balancer hashes: a variable, header, cookie, consumer or template."""

from __future__ import annotations

from collections.abc import Callable

from ..context import Context
from ..expr.template import Template
from ..expr.variables import getter, needs_body

HashKey = Callable[[Context], bytes]

DEFAULT_KEY = "uri"
"""PingSIX's default variable; APISIX's schema has none and insists on a key."""


def hash_key(hash_on: str, key: str | None) -> HashKey:
    """Return the key function of ``hash_on`` and ``key``.

    A key that is absent from a request (not one that is empty) is replaced by the client's address.
    ``head`` is PingSIX's name for ``header``.

    Source: APISIX apisix/balancer/chash.lua. Differs: PingSIX hashes the empty string instead.
    """
    match hash_on:
        case "header" | "head":
            return _header_key(key or "")
        case "consumer":
            return _consumer_key
        case "vars_combinations":
            return _template_key(Template(key or ""))
        case "cookie":
            return _variable_key(f"cookie_{key}")
    return _variable_key(key or DEFAULT_KEY)


def key_needs_body(hash_on: str, key: str | None) -> bool:
    """Tell whether the key function reads the request body."""
    if hash_on == "vars_combinations":
        return Template(key or "").needs_body
    return hash_on == "vars" and needs_body(key or DEFAULT_KEY)


def _client_key(ctx: Context) -> bytes:
    return ctx.request.client[0].encode()


def _header_key(name: str) -> HashKey:
    line = name.lower().encode("latin-1")

    def header_key(ctx: Context) -> bytes:
        value = ctx.request.headers.get(line)
        return _client_key(ctx) if value is None else value

    return header_key


def _consumer_key(ctx: Context) -> bytes:
    return _client_key(ctx) if ctx.consumer is None else ctx.consumer.username.encode()


def _variable_key(name: str) -> HashKey:
    value_of = getter(name)

    def variable_key(ctx: Context) -> bytes:
        value = value_of(ctx)
        return _client_key(ctx) if value is None else _bytes(str(value))

    return variable_key


def _template_key(template: Template) -> HashKey:
    def template_key(ctx: Context) -> bytes:
        text, resolved = template.resolve(ctx)
        return _bytes(text) if resolved else _client_key(ctx)

    return template_key


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
