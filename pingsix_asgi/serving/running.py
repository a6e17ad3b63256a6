"""A gateway that runs: its runtime, the app behind it, and the task that follows its source."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import __version__
from ..cache.store import Bounds
from ..config.open import Opened
from ..config.watch import StoreSource
from ..context import Context, Target
from ..control.metrics import CONTENT_TYPE, render_metrics
from ..control.status import Status
from ..errors import ConfigError, InvalidConfig, SchemaError
from ..http.addresses import AddressSet
from ..http.real_ip import UNIX, peers
from ..http.response import Response, error_page
from ..model.resources import Resources
from ..model.setting_sections import Defaults
from ..plugin.internal_api import internal_apis
from ..plugin.plan import Plan
from ..plugin.registry import Registry
from ..plugin.surroundings import Surroundings
from ..secrets.references import References, Unresolved, find_references, is_variable
from ..secrets.unseal import Unsealer
from ..settings import Settings
from ..snapshot.build import Builder
from ..snapshot.match import NO_ROUTE, PlanCache, Refusal, RouteMatch
from ..snapshot.publish import Publisher, leave_to_refcounts
from ..snapshot.runtime import Runtime
from ..types import ASGIApp, Receive, Scope, Send
from ..upstream.dns_resolver import DnsResolver
from ..upstream.node import Timeouts
from ..upstream.services import UpstreamDefaults

if TYPE_CHECKING:
    from ..secrets.keyring import Keyring

logger = logging.getLogger("pingsix_asgi.app")

FIRST_PUBLICATION_S = 5.0
"""How long a start waits for a store; after that the gateway runs on without a configuration."""
REAL_IP_FROM = ("127.0.0.1", UNIX)
"""Who names the client of a gateway alone. Source: APISIX's nginx_config.http.real_ip_from."""
REFRESH_S = 15.0
"""Time between two looks whether a secret manager has to be asked again."""


class Running:
    """From one start to one stop. ``app`` and ``local`` are the wrapped app, and it as a target."""

    def __init__(
        self, opened: Opened, registry: Registry, status: Status, app: ASGIApp | None
    ) -> None:
        self.runtime = make_runtime(opened.settings)
        builder = Builder(self.runtime, registry, app, opened.settings)
        self.context = Context if app is not None else _signed_context(opened.settings)
        """The class of contexts; a gateway alone signs the replies that are its own."""
        self.app: ASGIApp = app or _no_app
        believed = opened.settings.real_ip_from
        if believed is None:
            believed = REAL_IP_FROM if app is None else ()
        self.real_ip_peers = peers(believed)
        self.real_ip_header = opened.settings.real_ip_header.lower().encode()
        self.local: Target | None = builder.targets.local
        self._opened = opened
        self._status = status
        self._publisher = Publisher(builder, keyring=keyring_of(opened.settings))
        internal_apis(self.runtime)["/apisix/prometheus/metrics"] = self._metrics
        self._published = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        if app is not None:
            _close_until_published(self.runtime)

    async def start(self) -> None:
        """Follow the source until its first configuration is in force. Raises ConfigError.

        A store that is out of reach is waited for only so long.
        """
        # In a context of its own: what the server set for its lifespan is not the source's.
        own = contextvars.Context()
        following = self._following = asyncio.create_task(
            self._opened.source.run(self._publish), name="pingsix-source", context=own
        )
        own.copy().run(self.runtime.spawn, self._refresh_secrets(), "pingsix-secrets")
        if (file := self._opened.file) is not None:
            own.copy().run(self.runtime.spawn, file.follow_settings(), "pingsix-settings")
        is_store = isinstance(self._opened.source, StoreSource)
        published = asyncio.ensure_future(self._published.wait())
        try:
            await asyncio.wait(
                (published, following),
                timeout=FIRST_PUBLICATION_S if is_store else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if following.done():
                following.result()
        except BaseException:
            await self.stop()
            raise
        finally:
            published.cancel()
        if not self._published.is_set():
            logger.warning("no configuration after %g s: starting without", FIRST_PUBLICATION_S)
        _leave_code_to_refcounts()

    def _metrics(self) -> Response:
        return Response(200, render_metrics(self.runtime), [(b"content-type", CONTENT_TYPE)])

    async def stop(self) -> None:
        """Stop following the source and close every connection."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await self.runtime.aclose()

    async def _publish(
        self, resources: Resources, revision: int, *, partial: bool = True
    ) -> Sequence[SchemaError]:
        errors = await self._publisher(resources, revision, partial=partial)
        if errors and not partial:
            if not self._published.is_set():
                raise InvalidConfig(errors)
            self._status.rejected = "\n".join(str(error) for error in errors)
        else:
            snapshot = self.runtime.snapshot
            self._status.published(revision, snapshot.counts, errors or snapshot.errors)
            self._published.set()
        return errors

    async def _refresh_secrets(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                found = await self._publisher.refresh()
            except Exception:  # the root of a background task: nothing may end it
                logger.exception("refreshing secrets failed: the configuration stays")
                continue
            if found is not None:
                revision, errors = found
                self._status.published(revision, self.runtime.snapshot.counts, errors)


def _leave_code_to_refcounts() -> None:
    """Take the modules, the app and the configuration out of the cycle collector's sight.

    They live as long as the process, so a full collection finds nothing among them; under load it
    held all requests up for some 30 ms, several times a second on some servers. Once is enough.
    """
    if not gc.get_freeze_count():
        leave_to_refcounts()


async def check(
    opened: Opened, registry: Registry, app: ASGIApp | None = None
) -> Sequence[SchemaError]:
    """Compile what a configuration holds, publishing nothing; return what is wrong with it.

    Secrets are looked for in the environment only; those that are not there are logged.
    """
    if isinstance(opened.source, StoreSource):
        return ()
    runtime = make_runtime(opened.settings)
    try:
        resources, revision = await opened.source.load()
        unsealer = Unsealer(keyring_of(opened.settings), registry)
        builder = Builder(runtime, registry, app, opened.settings)
        references = References()
        resources = {
            kind: {id: references.with_variables(one) for id, one in documents.items()}
            for kind, documents in (await unsealer.open(resources)).items()
        }
        snapshot = builder.build(resources, revision)
        for error in snapshot.errors:
            held = resources.get(error.kind, {}).get(error.id)
            if isinstance(error, Unresolved) and any(map(is_variable, find_references(held))):
                logger.warning("%s", error)
        errors = (*unsealer.errors, *snapshot.errors)
        return [error for error in errors if not isinstance(error, Unresolved)]
    finally:
        await runtime.aclose()


def make_runtime(settings: Settings) -> Runtime:
    """Return a runtime with the settings' defaults for upstreams and caches."""
    given = settings.defaults
    servers = settings.discovery.dns.servers
    # A question is given up before the upstream's deadline, so that other names still count.
    resolver = (
        DnsResolver(servers, lifetime_s=given.dns_resolution_timeout * 0.8) if servers else None
    )
    runtime = Runtime(
        resolver=resolver, defaults=_upstream_defaults(given, settings.pingora.ca_file)
    )
    cache = given.cache
    runtime.keep(Bounds, lambda: Bounds(cache.max_memory_bytes, cache.default_max_object_bytes))
    runtime.keep(Surroundings, lambda: _surroundings(settings))
    return runtime


def _surroundings(settings: Settings) -> Surroundings:
    ports = (int(one.address.rpartition(":")[2]) for one in settings.listeners if one.tls)
    return Surroundings(AddressSet(settings.trusted_addresses), next(ports, None))


def keyring_of(settings: Settings) -> Keyring | None:
    """Return the keyring of ``data_encryption``, None when it is off. Raises ConfigError."""
    given = settings.data_encryption
    if not given.enable:
        return None
    try:
        from ..secrets.keyring import Keyring
    except ImportError as error:
        text = "data_encryption needs cryptography: pip install 'pingsix-asgi[crypto]'"
        raise ConfigError(text) from error
    return Keyring(given.keyring)


def _signed_context(settings: Settings) -> type[Context]:
    name = f"PingSIX/{__version__}" if settings.enable_server_tokens else "PingSIX"

    class Signed(Context):
        """A request to a gateway that stands for itself."""

        __slots__ = ()
        reply_headers = ((b"server", name.encode()),)

    return Signed


def _upstream_defaults(given: Defaults, ca_file: str | None) -> UpstreamDefaults:
    defaults = UpstreamDefaults(
        tls_verify=given.upstream_tls_verify,
        tls_ca_file=given.upstream_ca_file or ca_file,
        dns_timeout_s=given.dns_resolution_timeout,
        dns_refresh_s=given.dns_refresh_interval,
    )
    timeout = given.upstream_timeout
    if timeout is None:
        return defaults
    return replace(defaults, timeout=Timeouts(timeout.connect, timeout.send, timeout.read))


def _close_until_published(runtime: Runtime) -> None:
    """Answer 503 until a store has told what the rules are: the app must not be open meanwhile."""
    refusal = Refusal(error_page(503))
    unmatched = RouteMatch(Plan(), refusal, NO_ROUTE, ({}, {}), PlanCache())
    runtime.snapshot = replace(runtime.snapshot, unmatched=unmatched)


async def _no_app(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("there is no wrapped app")
