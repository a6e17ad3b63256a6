"""Every error of the gateway, as one tree.

Configuration errors never occur on the request path; request errors carry the HTTP status a client
gets. A foreign exception is mapped to this tree where the foreign call is made, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


class PingSIXError(Exception):
    """Root of the tree; never raised itself."""


class ConfigError(PingSIXError):
    """A configuration, or the place it comes from, is unusable."""


class SchemaError(ConfigError):
    """A resource or plugin conf is invalid.

    ``kind`` and ``id`` name the resource, ``path`` the field inside it (dotted, "" for the whole).
    ``message`` is the text clients of APISIX know; ``hint`` says it plainly, where that helps, and
    is told with all the rest by ``str``.
    """

    def __init__(
        self, message: str, *, kind: str = "", id: str = "", path: str = "", hint: str = ""
    ) -> None:
        where = f"{kind}/{id}" if id else kind
        text = f"{message} ({hint})" if hint else message
        super().__init__(": ".join(part for part in (where, path, text) if part))
        self.kind, self.id, self.path, self.message = kind, id, path, message
        self.hint = hint

    @property
    def errors(self) -> Sequence[SchemaError]:
        """Everything that is wrong: itself, or what SchemaErrors holds."""
        return (self,)


class SchemaErrors(SchemaError):
    """Several problems of one conf, none of them of a named resource; by itself it is the first."""

    def __init__(self, errors: Sequence[SchemaError]) -> None:
        super().__init__(errors[0].message, path=errors[0].path)
        self._held = tuple(errors)

    @property
    def errors(self) -> Sequence[SchemaError]:
        """All of them."""
        return self._held


def each(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Return what the calls give. Raises SchemaErrors with all that they find wrong."""
    given: list[T] = []
    wrong: list[SchemaError] = []
    for call in calls:
        try:
            given.append(call())
        except SchemaError as error:
            wrong += error.errors
    if wrong:
        raise SchemaErrors(wrong)
    return given


class ReferenceMissing(SchemaError):
    """A resource names a service, upstream, plugin config… that does not exist."""


class InvalidConfig(ConfigError):
    """A configuration with everything that is wrong in it, one line each."""

    def __init__(self, errors: Sequence[SchemaError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = tuple(errors)


class SourceError(ConfigError):
    """A configuration source (file, environment, etcd) cannot be read; worth a retry."""


class RequestError(PingSIXError):
    """A request cannot be answered normally.

    Raised before the response started it is answered with ``status`` through the response phases;
    after that the connection is aborted, so that a client never takes a part for the whole.
    """

    status = 500
    headers: Sequence[tuple[bytes, bytes]] = ()
    """What the answer carries beside the fields of its page."""

    def __init__(self, message: str = "", *, status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status


class DownstreamError(RequestError):
    """The client sent nonsense or too much."""

    status = 400


class ClientGone(DownstreamError):
    """The client left before it got the answer: nothing is sent, 499 is logged."""

    status = 499


class UpstreamError(RequestError):
    """Root of what upstreams do to us."""

    status = 502


class ConnectError(UpstreamError):
    """No connection could be made; nothing was sent."""


class UpstreamTimeout(UpstreamError):
    """``step`` ("connect", "send" or "read") ran out of time."""

    status = 504

    def __init__(self, step: str, message: str = "") -> None:
        super().__init__(message or f"upstream {step} timeout")
        self.step = step


class UpstreamProtocolError(UpstreamError):
    """The upstream broke the protocol, or closed before its answer was complete."""


class NoUpstream(UpstreamError):
    """The upstream has no node: none is configured, or no name resolves."""

    status = 503


class NoNode(UpstreamError):
    """Every node is out or was already tried."""


class PluginError(RequestError):
    """A plugin hook raised; the cause is kept in ``__cause__``."""

    status = 500

    def __init__(self, plugin: str, phase: str) -> None:
        super().__init__(f"plugin {plugin} failed in {phase}")
        self.plugin, self.phase = plugin, phase
