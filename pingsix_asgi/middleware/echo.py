"""Replace or frame the response body, and set response headers."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from ..context import Context
from ..plugin.base import Plugin, PluginConf
from ..plugin.body import has_body


class Echo(Plugin):
    """Put text before, after or in place of what the target answers.

    Source: apisix/plugins/echo.lua. Differs from PingSIX, whose echo answers by itself: here the
    target is asked first and its status stays.
    """

    name = "echo"
    priority = 412

    class Conf(PluginConf):
        before_body: str | None = None
        """Text before the body. At least one of the three texts is required."""
        body: str | None = None
        """Text in place of the body."""
        after_body: str | None = None
        """Text after the body."""
        headers: Annotated[dict[str, str | int | float], Field(min_length=1)] | None = None
        """Headers to set."""

        @model_validator(mode="after")
        def _some_body(self) -> Self:
            if self.before_body is None and self.body is None and self.after_body is None:
                raise ValueError(
                    "object matches none of the required: "
                    '["before_body"] or ["body"] or ["after_body"]'
                )
            if self.headers is not None and "" in self.headers:
                raise ValueError("invalid field length in header")
            return self

    def __init__(self, conf: Conf) -> None:
        self._before = (conf.before_body or "").encode()
        self._body = None if conf.body is None else conf.body.encode()
        self._after = (conf.after_body or "").encode()
        self._headers = [
            (name.lower().encode("latin-1"), str(value).encode("latin-1"))
            for name, value in (conf.headers or {}).items()
        ]

    def header_filter(self, ctx: Context) -> None:
        ctx.response.body_modified()
        for name, value in self._headers:
            ctx.response.headers.set(name, value)

    def body_filter(self, ctx: Context, chunk: bytes, last: bool) -> bytes:
        first = ctx.noted(self) is None
        if first:
            if not has_body(ctx):
                return chunk
            ctx.note(self, True)
        if self._body is not None:
            chunk = self._body if first else b""
        if first:
            chunk = self._before + chunk
        return chunk + self._after if last else chunk
