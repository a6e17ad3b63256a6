"""Answer with an example or with data made up from a schema."""

from __future__ import annotations

import asyncio
import json
import random
import string
from collections.abc import Awaitable
from typing import Annotated, Any, Self
from xml.sax.saxutils import escape

from pydantic import Field, model_validator

from .. import __version__
from ..context import Context
from ..expr.template import Template
from ..http.headers import Headers
from ..http.response import Response
from ..plugin.base import Plugin, PluginConf, Reply
from ..plugin.header_ops import HeaderOps, HeaderValue

_XML = ("application/xml", "text/xml")
_JSON = ("application/json", "text/plain")
_KNOWN = (*_XML, *_JSON, "text/html")


class Mocking(Plugin):
    """Never ask the target: answer with ``response_example``, or with random data that fit
    ``response_schema`` (its ``example`` values are used where given); for ``text/html`` there are
    none. Variables are filled in either way.

    Source: apisix/plugins/mocking.lua. Differs: ``x-mock-by`` names this gateway.
    """

    name = "mocking"
    priority = 10900

    class Conf(PluginConf):
        response_example: str | None = None
        """Body, a template. This or ``response_schema`` is required."""
        response_schema: dict[str, Any] | None = None
        """JSON Schema of a body to make up; its ``example`` values are used."""
        response_status: Annotated[int, Field(ge=100, le=999)] = 200
        """Status."""
        content_type: str = "application/json;charset=utf8"
        """Content-Type; JSON, XML, plain text or HTML."""
        delay: Annotated[int, Field(ge=0)] = 0
        """Seconds."""
        with_mock_header: bool = True
        """Send ``X-Mock-By``."""
        response_headers: Annotated[dict[str, HeaderValue], Field(min_length=1)] | None = None
        """Headers to send; values are templates."""

        @model_validator(mode="after")
        def _has_a_body_of_a_known_type(self) -> Self:
            if self.response_example is None and self.response_schema is None:
                raise ValueError(
                    "object matches none of the required: "
                    '["response_example"] or ["response_schema"]'
                )
            if _media_type(self.content_type) not in _KNOWN:
                raise ValueError("unsupported content type!")
            return self

    def __init__(self, conf: Conf) -> None:
        self._example = None if conf.response_example is None else Template(conf.response_example)
        self._schema = {"type": "object", **(conf.response_schema or {})}
        self._type = _media_type(conf.content_type)
        self._status = conf.response_status
        self._delay = conf.delay
        self._headers = [(b"content-type", conf.content_type.encode("latin-1", "replace"))]
        if conf.with_mock_header:
            self._headers.append((b"x-mock-by", f"PingSIX/{__version__}".encode()))
        self._extra = HeaderOps(replace=conf.response_headers)
        body = self._example or Template(json.dumps(self._schema))
        self.needs_body = body.needs_body or self._extra.needs_body

    def access(self, ctx: Context) -> Reply | Awaitable[Reply]:
        return self._answer_late(ctx) if self._delay else self._answer(ctx)

    async def _answer_late(self, ctx: Context) -> Reply:
        await asyncio.sleep(self._delay)
        return self._answer(ctx)

    def _answer(self, ctx: Context) -> Response:
        body = self._example or Template(self._made_up())
        headers = Headers(self._headers)
        self._extra.apply(headers, ctx)
        content = body.render(ctx).encode("utf-8", "surrogateescape")
        return Response(self._status, content, headers.raw)

    def _made_up(self) -> str:
        if self._type in _XML:
            return _xml("data", _make(self._schema))
        if self._type in _JSON:
            return json.dumps(_make(self._schema), separators=(",", ":"))
        return ""


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _make(schema: dict[str, Any]) -> Any:
    """Make up a value for a JSON schema; None where the schema says too little."""
    example = schema.get("example")
    kind = str(schema.get("type", "")).lower()
    if kind == "object":
        return {name: _make(part) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        items = schema.get("items")
        return [_make(items) for _ in range(random.randint(1, 3))] if items else None
    if kind == "string":
        if isinstance(example, str):
            return example
        return "".join(random.choices(string.ascii_lowercase, k=random.randint(1, 10)))
    is_number = isinstance(example, int | float) and not isinstance(example, bool)
    if kind == "number":
        return example if is_number else random.random() * 10000
    if kind == "integer":
        return int(example) if is_number else random.randint(1, 10000)  # type: ignore[arg-type]
    if kind == "boolean":
        return example if isinstance(example, bool) else random.random() < 0.5
    return None


def _xml(tag: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(_xml(tag, one) for one in value)
    if isinstance(value, dict):
        inner = "".join(_xml(name, part) for name, part in value.items())
    elif isinstance(value, bool):
        inner = "true" if value else "false"
    else:
        inner = "" if value is None else escape(str(value))
    return f"<{tag}>{inner}</{tag}>"
