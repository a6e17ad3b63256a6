"""The contract of a plugin: a name, a priority, a validated conf, and hooks for phases.

Request hooks (rewrite, access, before_proxy) may be ``def`` or ``async def`` and return None to go
on or a Response to answer. Response hooks are plain ``def``. The compiler drops every hook a class
does not override, so an unused phase costs nothing. A response hook never assumes that the
plugin's own request hook ran: somebody may have answered first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from importlib import import_module
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias, TypeVar

from pydantic import ConfigDict

from ..clock import Clock
from ..context import Context, Target
from ..http.response import Response
from ..model.base import Model
from ..types import JSON, ASGIApp
from .consumer import Consumers

Reply: TypeAlias = Response | None
T = TypeVar("T")

Phase: TypeAlias = Literal[
    "rewrite",
    "access",
    "before_proxy",
    "header_filter",
    "delayed_header_filter",
    "body_filter",
    "delayed_body_filter",
    "log",
]
REQUEST_PHASES: tuple[Phase, ...] = ("rewrite", "access", "before_proxy")
RESPONSE_PHASES: tuple[Phase, ...] = (
    "header_filter",
    "delayed_header_filter",
    "body_filter",
    "delayed_body_filter",
    "log",
)


class PluginConf(Model):
    """Base of plugin confs: frozen, strict types; unknown options are named in the log and ignored.

    That is how APISIX and PingSIX treat options that another version of a plugin has.
    """

    model_config = ConfigDict(extra="ignore")


class EmptyConf(PluginConf):
    """A conf without options."""


class Host(Protocol):
    """What a plugin instance may ask of the gateway it runs in."""

    owner: str
    """Key of the resource that holds the conf, e.g. "routes/1"; "" for a lone plugin."""
    clock: Clock

    def metadata(self) -> PluginConf | None:
        """Return this plugin's plugin_metadata, validated by its ``Metadata`` class, or None."""

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the object kept under ``key``, made on first use; it outlives snapshots.

        An object with ``async def aclose()`` is closed when the gateway stops.
        """

    def is_present(self, owner: str) -> bool:
        """Tell whether a resource, e.g. "routes/1", is in the configuration that is being built."""

    def target(self, upstream: JSON) -> Target:
        """Compile an inline upstream (a dict) or find one by id (a string).

        Raises ReferenceMissing or SchemaError.
        """

    def consumers(self, plugin: str) -> Consumers:
        """Return the index of consumers by their credential for this auth plugin."""


class PluginFinder(Protocol):
    """The plugins there are: given in code, shipped, or from an entry point."""

    def find(self, name: str) -> type[Plugin]:
        """Return the class of a plugin. Raises ReferenceMissing."""


class Plugin:
    """One instance per (owner, conf): a pure function of its conf, shared by all requests.

    Called with an ASGI app instead of a conf, as frameworks do with a middleware class
    (``app.add_middleware(Cors, allow_origins="*")``), a plugin class gives that app wrapped:
    ``adapters.as_middleware(cls)(app, **options)``.
    """

    name: ClassVar[str]
    priority: ClassVar[int]
    kind: ClassVar[Literal["", "auth"]] = ""
    run_policy: ClassVar[Literal["", "prefer_route"]] = ""
    encrypted: ClassVar[tuple[str, ...]] = ()
    """Dotted paths of secret fields in Conf and ConsumerConf."""
    nested: ClassVar[tuple[str, ...]] = ()
    """Dotted paths in Conf of other plugins' confs, whose secrets are theirs to name: objects
    ``{name: conf}`` or pairs ``[name, conf]``, alone or in lists."""
    may_lack_secrets: ClassVar[bool] = False
    """Requests pass even if a secret in the conf cannot be resolved, and its reference is what the
    plugin gets: for those that only look on, such as loggers. Others are locked: 503."""

    needs_gateway: ClassVar[str] = ""
    """What it needs a gateway for, so that it is refused as middleware on its own; "": nothing."""

    Conf: ClassVar[type[PluginConf]] = EmptyConf
    ConsumerConf: ClassVar[type[PluginConf] | None] = None
    """Auth plugins: what a consumer or credential holds for this plugin."""
    consumer_key: ClassVar[str] = ""
    """Auth plugins: the field of ConsumerConf by which a consumer is found, unique among all."""
    Metadata: ClassVar[type[PluginConf] | None] = None
    skips: frozenset[Phase] = frozenset()
    """Phases this instance does not need after all; set by __init__ from the conf."""

    reads_response: ClassVar[bool] = True
    """``log`` looks at the response; else it is told of the end alone, and responses go unobserved
    as far as this plugin is concerned."""
    needs_body: bool = False
    """Some hook wants ``ctx.body``: it is read before the request hooks, or when there are none, at
    the plugin's place in the access phase. Set by __init__ or setup from the conf."""

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Make an instance, or wrap the app that was given in place of a conf."""
        if args and callable(args[0]):
            # Found by name: the adapter runs the engine, which this contract must not depend on.
            adapters = import_module("pingsix_asgi.adapters")
            wrapped: Self = adapters.as_middleware(cls)(*args, **options)
            return wrapped  # not an instance of cls, so __init__ is not called on it
        return super().__new__(cls)

    def __init__(self, conf: Any) -> None:
        """Do all work that depends only on ``conf``. Raises SchemaError (with ``path``) if bad."""

    def compose(self, plugins: PluginFinder) -> None:
        """Make the plugins that the conf names, for one that holds others (``nested``).

        Called once, right after construction, also when a document is only judged. They are set
        up in ``setup`` like everything else. Raises SchemaError (with ``path``) if one is bad.
        """

    def setup(self, host: Host) -> None:
        """Called once, after construction and before the first request."""

    def rewrite(self, ctx: Context) -> Reply | Awaitable[Reply]:
        """Run before routing is final: authentication, redirects, rewriting."""
        raise NotImplementedError

    def access(self, ctx: Context) -> Reply | Awaitable[Reply]:
        """Run when the consumer is known: limits, restrictions, choice of the target."""
        raise NotImplementedError

    def before_proxy(self, ctx: Context) -> Reply | Awaitable[Reply]:
        """Run when the node is picked and nothing was sent to it yet."""
        raise NotImplementedError

    def header_filter(self, ctx: Context) -> None:
        """Edit ``ctx.response`` before it is sent; runs for every answer, ours included."""
        raise NotImplementedError

    def delayed_header_filter(self, ctx: Context) -> None:
        """As header_filter, after every plugin's header_filter: for compression and the like."""
        raise NotImplementedError

    def body_filter(self, ctx: Context, chunk: bytes, last: bool) -> bytes:
        """Return what to send for ``chunk``; b"" to hold it back.

        Call ``ctx.response.body_modified()`` in header_filter when the length may change.
        """
        raise NotImplementedError

    def delayed_body_filter(self, ctx: Context, chunk: bytes, last: bool) -> bytes:
        """As body_filter, after every plugin's body_filter."""
        raise NotImplementedError

    def log(self, ctx: Context) -> None:
        """Run once per request, however it ended; must not block."""
        raise NotImplementedError

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Put an ASGI middleware between before_proxy and the target."""
        raise NotImplementedError
