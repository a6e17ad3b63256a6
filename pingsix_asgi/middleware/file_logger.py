"""Write a line per request to a file."""

from __future__ import annotations

import logging
import os
import re
from typing import Annotated, Any

from pydantic import Field

from ..context import Context
from ..expr.template import Template
from ..expr.variables import needs_body
from ..logs.entry import dump
from ..logs.plugin import LogConf, LoggerPlugin, LogMetadata, condition
from ..logs.redact import redacted
from ..plugin.base import Host
from ..types import JSON

logger = logging.getLogger("pingsix_asgi.plugins.file_logger")
access_log = logging.getLogger("pingsix_asgi.access")

_CHECK_S = 1.0
"""How often an open file is compared with its path, to follow a rotation."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


class FileLogger(LoggerPlugin):
    """Append JSON objects, or lines of a text format, to ``path``.

    Without ``path`` here and in the metadata, lines go to the Python logger
    ``pingsix_asgi.access``. Source: apisix/plugins/file-logger.lua; a string ``log_format`` and
    ``redact_query_params`` are PingSIX's.
    """

    name = "file-logger"
    priority = 399

    class Conf(LogConf):
        path: str | None = None
        """File to append to; unset: that of the metadata, or the Python logger."""
        match: Annotated[list[list[JSON]], Field(max_length=20)] | None = None
        """Expressions of which one must hold for a request to be logged."""
        redact_query_params: list[str] = Field(default_factory=list)
        """Query parameters whose values are written as "***", by their decoded names."""

    class Metadata(LogMetadata):
        path: str | None = None
        """For routes without a path of their own."""

    def __init__(self, conf: Conf) -> None:
        super().__init__(conf)
        self._matches = [condition(document, "match") for document in conf.match or ()]
        self.needs_body |= any(needs_body(document) for document in conf.match or ())
        self._line = Template(conf.log_format) if isinstance(conf.log_format, str) else None
        self._secrets = frozenset(conf.redact_query_params)

    def setup(self, host: Host) -> None:
        super().setup(host)
        metadata: Any = host.metadata()
        path = self.conf.path or (metadata.path if metadata is not None else None)
        self._file = host.keep((self.name, path), lambda: _File(path, host)) if path else None

    def log(self, ctx: Context) -> None:
        if self._matches and not any(matches(ctx) for matches in self._matches):
            return
        super().log(redacted(ctx, self._secrets) if self._secrets else ctx)

    def entry(self, ctx: Context) -> Any:
        return _escaped(self._line.render(ctx)) if self._line else super().entry(ctx)

    def emit(self, ctx: Context, entry: Any) -> None:
        line = entry if isinstance(entry, str) else dump(entry)
        if self._file is None:
            access_log.info("%s", line)
        else:
            self._file.write(line.encode("utf-8", "replace") + b"\n")


class _File:
    """An append-only file that follows rotation: opened again when its path names another file.

    One ``write`` per line with O_APPEND, so lines of several workers do not mix.
    """

    def __init__(self, path: str, host: Host) -> None:
        self._path = path
        self._now = host.clock.monotonic
        self._fd = -1
        self._checked = float("-inf")

    def write(self, line: bytes) -> None:
        now = self._now()
        if now - self._checked >= _CHECK_S:
            self._checked = now
            self._follow()
        if self._fd >= 0:
            os.write(self._fd, line)

    async def aclose(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _follow(self) -> None:
        try:
            if self._fd >= 0 and os.path.samestat(os.fstat(self._fd), os.stat(self._path)):
                return
        except FileNotFoundError:
            pass
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            logger.error("failed to open file: %s, error info: %s", self._path, error.strerror)


def _escaped(text: str) -> str:
    """Escape control characters, so that no request can forge a second line."""
    return _CONTROL.sub(lambda m: _SHORT.get(m[0]) or f"\\u{{{ord(m[0]):04x}}}", text)
