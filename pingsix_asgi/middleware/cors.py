"""Cross-origin resource sharing: answer preflights, label responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from ..context import Context
from ..expr.regex import compile_regex
from ..http.response import Response
from ..model.fields import Unique
from ..plugin.base import Host, Plugin, PluginConf, Reply

_ORIGINS_PATTERN = r"^(\*|\*\*|null|\w+://[^,]+(,\w+://[^,]+)*)$"
_ALLOW_ORIGIN = b"access-control-allow-origin"
_ALLOW_HEADERS = b"access-control-allow-headers"
_TIMING = frozenset({b"timing-allow-origin"})
_MAX_REMEMBERED = 1024
"""Origins whose labels are kept; a client can name another one with every request."""
_ALL_METHODS = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE"

Origins: TypeAlias = Annotated[str, Field(pattern=_ORIGINS_PATTERN)]


def _regex(text: str) -> str:
    compile_regex(text)
    return text


Patterns: TypeAlias = Annotated[
    Unique[Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_regex)]],
    Field(min_length=1),
]
Matcher: TypeAlias = Callable[[str | None], str | None]
"""Gives the value of Allow-Origin for the request's Origin, or None when it is not allowed."""
Edit: TypeAlias = tuple[frozenset[bytes], tuple[tuple[bytes, bytes], ...], bool]
"""(headers to drop, lines to add, whether Allow-Headers gives back what the client asks for)."""


class Cors(Plugin):
    """Tell browsers which other origins may read the responses.

    Every OPTIONS request is answered here with 200; whether its origin is allowed shows in the
    headers only. Labels replace those of the target. Source: apisix/plugins/cors.lua.
    """

    name = "cors"
    priority = 4000

    class Conf(PluginConf):
        allow_origins: Origins = "*"
        """Origins that may read responses, by comma; ``*`` all, ``**`` all with credentials."""
        allow_methods: str = "*"
        """Methods, by comma; ``*`` all, ``**`` all with credentials."""
        allow_headers: str = "*"
        """Request headers, by comma; ``*`` all, ``**`` those that a preflight asks for."""
        expose_headers: str | None = None
        """Response headers that scripts may read, by comma."""
        max_age: int = 5
        """Seconds a browser may keep a preflight's answer."""
        allow_credential: bool = False
        """Let browsers send credentials; not beside a ``*``."""
        allow_origins_by_regex: Patterns | None = None
        """Patterns of origins, in place of ``allow_origins``."""
        allow_origins_by_metadata: (
            Annotated[
                Unique[Annotated[str, Field(min_length=1, max_length=4096)]], Field(min_length=1)
            ]
            | None
        ) = None
        """Names of origins in the plugin metadata."""
        timing_allow_origins: Origins | None = None
        """Origins that may read timings, by comma."""
        timing_allow_origins_by_regex: Patterns | None = None
        """Patterns of these, in place of ``timing_allow_origins``."""

        @model_validator(mode="after")
        def _credentials_need_names(self) -> Self:
            options: set[str | None] = {self.allow_origins, self.allow_methods, self.allow_headers}
            options |= {self.expose_headers, self.timing_allow_origins}
            if self.allow_credential and "*" in options:
                raise ValueError(
                    "you can not set '*' for other option when 'allow_credential' is true"
                )
            return self

    class Metadata(PluginConf):
        allow_origins: Annotated[dict[str, Origins], Field(default_factory=dict)]
        """Origins, by comma, by name."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._vary = conf.allow_origins != "*"
        self._labels = _labels(conf)
        self._echoes_headers = conf.allow_headers == "**"
        self._origin = _by_list_or_regex(conf.allow_origins, conf.allow_origins_by_regex)
        self._timing: Matcher | None = None
        if conf.timing_allow_origins or conf.timing_allow_origins_by_regex:
            self._timing = _by_list_or_regex(
                conf.timing_allow_origins or "", conf.timing_allow_origins_by_regex
            )
        names = (name for name, _ in self._labels)
        self._names = frozenset((_ALLOW_ORIGIN, _ALLOW_HEADERS, *names))
        self._edits: dict[bytes | None, Edit] = {}

    def setup(self, host: Host) -> None:
        keys = self._conf.allow_origins_by_metadata
        metadata = host.metadata()
        if keys and isinstance(metadata, self.Metadata):
            known = metadata.allow_origins
            first = [_by_list(known[key]) for key in keys if key in known]
            rest = [] if self._conf.allow_origins == "*" else [self._origin]
            self._origin = _first_of([*first, *rest])
        elif keys and self._conf.allow_origins == "*":
            self._origin = _first_of([])

    def rewrite(self, ctx: Context) -> Reply:
        request = ctx.request
        origin = request.headers.get(b"origin")
        if origin is not None:  # kept as the client sent it: proxy-rewrite may change the header
            ctx.note(self, origin)
        return Response(200) if request.method == "OPTIONS" and not ctx.is_websocket else None

    def header_filter(self, ctx: Context) -> None:
        origin: bytes | None = ctx.noted(self)
        if origin is None:  # somebody may have answered before us
            origin = ctx.request.headers.get(b"origin")
        names, lines, echoes_headers = self._edits.get(origin) or self._edit(origin)
        headers = ctx.response.headers
        headers.replace(names, lines)
        if echoes_headers:
            wanted = ctx.request.headers.get(b"access-control-request-headers")
            if wanted is not None:
                headers.append(_ALLOW_HEADERS, wanted)

    def _edit(self, sent: bytes | None) -> Edit:
        """Decide what an origin gives, and remember it: it depends on nothing else."""
        origin = None if sent is None else sent.decode("latin-1")
        names: frozenset[bytes] = frozenset()
        lines = [(b"vary", b"Origin")] if self._vary else []
        allowed = self._origin(origin)
        if allowed:
            names = self._names
            lines += [(_ALLOW_ORIGIN, allowed.encode("latin-1")), *self._labels]
        timing = self._timing(origin) if self._timing is not None else None
        if timing:
            names |= _TIMING
            lines.append((b"timing-allow-origin", timing.encode("latin-1")))
        if len(self._edits) >= _MAX_REMEMBERED:
            self._edits.clear()
        edit = self._edits[sent] = names, tuple(lines), bool(allowed) and self._echoes_headers
        return edit


def _labels(conf: Cors.Conf) -> list[tuple[bytes, bytes]]:
    """Return the headers that are the same for every allowed origin."""
    methods = _ALL_METHODS if conf.allow_methods == "**" else conf.allow_methods
    labels = {
        b"access-control-allow-methods": methods,
        b"access-control-max-age": str(conf.max_age),
    }
    if conf.expose_headers:
        labels[b"access-control-expose-headers"] = conf.expose_headers
    if conf.allow_headers != "**":
        labels[b"access-control-allow-headers"] = conf.allow_headers
    if conf.allow_credential:
        labels[b"access-control-allow-credentials"] = "true"
    return [(name, value.encode("latin-1", "replace")) for name, value in labels.items()]


def _by_list_or_regex(origins: str, patterns: Sequence[str] | None) -> Matcher:
    if patterns is None:
        return _by_list(origins, any_is_star=True)
    searches = [compile_regex(pattern).search for pattern in patterns]

    def match(origin: str | None) -> str | None:
        if origin and any(search(origin) for search in searches):
            return origin
        return None

    return match


def _by_list(origins: str, *, any_is_star: bool = False) -> Matcher:
    """Match a configured list. ``*`` in metadata gives the origin back, in the conf a star."""
    if origins == "*" and any_is_star:
        return lambda origin: "*"
    if origins in ("*", "**"):
        return lambda origin: origin or "*"
    listed = frozenset(origins.split(","))
    return lambda origin: origin if origin in listed else None


def _first_of(matchers: list[Matcher]) -> Matcher:
    def match(origin: str | None) -> str | None:
        for matcher in matchers:
            allowed = matcher(origin)
            if allowed:
                return allowed
        return None

    return match
