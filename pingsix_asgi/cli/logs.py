"""Logging of the command line: one handler. The library itself configures nothing."""

from __future__ import annotations

import json
import logging
import os
import sys
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path
from typing import Final, Literal, TypeAlias

from ..errors import ConfigError, RequestError
from ..model.setting_sections import Log

LogFormat: TypeAlias = Literal["text", "json"]

LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": logging.CRITICAL + 1,
}
_CHATTY: Final = ("uvicorn", "httpx2", "httpcore2", "hpack", "asyncio", "_granian", "granian")
"""Libraries whose information is noise in a gateway's log unless somebody debugs."""

_SERVERS: Final = ("uvicorn.error", "_granian")
"""Loggers of the servers, for what an app raises."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
}


def set_up(level: str | None = None, style: LogFormat = "text") -> None:
    """Log to stderr from ``level`` on.

    Default: PINGSIX_LOG_LEVEL, else the first plain level in RUST_LOG (as PingSIX reads it), else
    "info". Raises ConfigError for an unknown level.
    """
    wanted = (level or os.environ.get("PINGSIX_LOG_LEVEL") or _from_rust() or "info").lower()
    if wanted not in LEVELS:
        raise ConfigError(f'unknown log level "{wanted}", expected one of {", ".join(LEVELS)}')
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines() if style == "json" else TextLines())
    logging.basicConfig(level=LEVELS[wanted], handlers=[handler], force=True)
    if LEVELS[wanted] > logging.DEBUG:
        for name in _CHATTY:
            logging.getLogger(name).setLevel(max(logging.WARNING, LEVELS[wanted]))
    for name in _SERVERS:
        logging.getLogger(name).addFilter(_is_new)
    logging.captureWarnings(True)


def warnings_as_lines() -> None:
    """Write warnings to stderr as the command line writes errors, each one once."""
    seen: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        is_first = text not in seen
        seen.add(text)
        return is_first

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("pingsix-asgi: warning: %(message)s"))
    handler.addFilter(is_new)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def to_file(log: Log, *, is_only_writer: bool) -> None:
    """Log to ``pingsix.log.path`` in place of stderr, in the same form.

    A missing directory is made. With several workers nobody rotates: a worker follows what a
    rotator from outside does. Raises ConfigError when the file cannot be written.
    """
    root = logging.getLogger()
    try:
        Path(log.path).parent.mkdir(parents=True, exist_ok=True)
        handler = _file_handler(log, is_only_writer)
    except OSError as error:
        raise ConfigError(f"pingsix: log: cannot write {log.path}: {error.strerror}") from error
    handler.setFormatter(root.handlers[0].formatter)
    root.handlers[:] = [handler]


def _is_new(record: logging.LogRecord) -> bool:
    """Refuse tracebacks of failed requests: the engine has told of each in one line."""
    return not (record.exc_info and isinstance(record.exc_info[1], RequestError))


def _file_handler(log: Log, is_only_writer: bool) -> logging.Handler:
    if log.rotation == "internal" and is_only_writer:
        # logging cannot rotate without a backup: at least one is kept.
        return RotatingFileHandler(
            log.path,
            maxBytes=log.max_size_bytes,
            backupCount=max(log.max_backups, 1),
            encoding="utf-8",
        )
    if log.rotation == "disabled":
        return logging.FileHandler(log.path, encoding="utf-8")
    return WatchedFileHandler(log.path, encoding="utf-8")


def _from_rust() -> str | None:
    """Return the global level of a RUST_LOG directive list such as "warn,pingsix=debug"."""
    for directive in os.environ.get("RUST_LOG", "").split(","):
        if directive.strip().lower() in LEVELS:
            return directive.strip()
    return None


class TextLines(logging.Formatter):
    """One line per record: time in UTC, level, process, logger, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s")
        self.default_time_format = "%Y-%m-%dT%H:%M:%S"
        self.default_msec_format = "%s.%03dZ"

    converter = staticmethod(__import__("time").gmtime)


class JSONLines(logging.Formatter):
    """One JSON object per record; ``extra`` fields of the log call become fields of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "process": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        entry.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        return json.dumps(entry, default=str, ensure_ascii=False)
