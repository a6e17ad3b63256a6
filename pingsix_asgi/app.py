"""PingSIX: the gateway as one ASGI callable. With an app it is middleware, alone it is a proxy."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, Self

from asgiref.compatibility import guarantee_single_callable

from .clock import SystemClock
from .config.open import ConfigArg, Opened, open_config
from .context import Context, Request
from .control.status import Status
from .engine import serve
from .errors import ClientGone, DownstreamError, SchemaError
from .http.real_ip import take_client
from .http.response import error_page
from .http.scope import read_host, read_path
from .plugin.base import Plugin
from .plugin.plan import Plan
from .plugin.registry import Registry
from .serving.lifespan import FirstRequest, Lifespan
from .serving.running import Running, check
from .snapshot.runtime import Runtime
from .types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("pingsix_asgi.app")


class PingSIX:
    """An API gateway around an ASGI app, or on its own.

    ``app`` is any ASGI 3 or ASGI 2 app; wrap a WSGI app in asgiref's WsgiToAsgi. A request that no
    route takes goes to it untouched; without an app it is answered as APISIX does, with 404.

    ``config`` is a file (watched for changes), a dict with the same content, Settings, or None for
    the environment. ``plugins`` are plugin classes beside those the package has.

    Everything starts with the server's lifespan, or with the first request when it runs none. One
    object serves one event loop; several worker processes make one each.

    Raises ConfigError when settings are wrong, TypeError when ``app`` is no ASGI app. What is wrong
    with resources is found when the gateway starts.
    """

    def __init__(
        self,
        app: Any = None,
        config: ConfigArg | Opened = None,
        plugins: Iterable[type[Plugin]] = (),
    ) -> None:
        self.opened = config if isinstance(config, Opened) else open_config(config)
        self.settings = self.opened.settings
        self.registry = Registry(plugins)
        self.status = Status.of(SystemClock(), self.opened)
        self._app = None if app is None else _single_callable(app)
        self._running: Running | None = None
        self._starting = asyncio.Lock()
        self._first_request = FirstRequest(start=self.startup, stop=self.shutdown)

    @classmethod
    def from_env(cls, app: Any = None, plugins: Iterable[type[Plugin]] = ()) -> Self:
        """Make a gateway that is configured by ``PINGSIX_…`` environment variables."""
        return cls(app, plugins=plugins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            lifespan = Lifespan(receive, send, start=self.startup, stop=self.shutdown)
            await lifespan.run(self._app, scope)
            return
        running = self._running
        if running is None:
            running = await self._start_late()
        try:
            path, target = read_path(scope)
            request = Request(scope, path, target, read_host(scope["headers"]))
        except DownstreamError as error:
            nothing = Request(scope, "/", b"/", "")
            await _refuse(running.context(scope, receive, send, nothing), error)
            return
        if request.client[0] in running.real_ip_peers:
            said = dict(scope["headers"]).get(running.real_ip_header)
            if said is not None:
                take_client(request, said)
        ctx = running.context(scope, receive, send, request)
        ctx.started = monotonic()
        ctx.snapshot = snapshot = running.runtime.snapshot
        if snapshot.router.needs_body and not await _has_what_routes_read(ctx):
            return
        match = snapshot.router.match(ctx)
        if match is None:
            match = snapshot.unmatched
            if match.target is running.local and not match.plan.steps:
                await running.app(scope, ctx.receive, send)
                return
        await serve(ctx, match)

    async def startup(self) -> None:
        """Load the configuration, put it in force, and follow its source from then on.

        Does nothing when it runs already. Raises ConfigError when the configuration cannot be read,
        InvalidConfig when a file, the environment or a dict holds faulty resources.
        """
        async with self._starting:
            if self._running is None:
                self.status.revision, self.status.is_draining = None, False
                running = Running(self.opened, self.registry, self.status, self._app)
                await running.start()
                self._running = running

    async def shutdown(self) -> None:
        """Stop following the source, close every connection. Does nothing when it does not run."""
        running, self._running = self._running, None
        if running is not None:
            await running.stop()

    async def check(self) -> Sequence[SchemaError]:
        """Compile the resources of the configuration, publishing nothing; return what is wrong.

        Names are not resolved and stores are not asked. Raises ConfigError when a file cannot be
        read.
        """
        return await check(self.opened, self.registry, self._app)

    def drain(self) -> None:
        """Fail readiness from now on; requests are still answered."""
        self.status.is_draining = True

    @property
    def runtime(self) -> Runtime:
        """The runtime behind the requests. Raises RuntimeError while the gateway does not run."""
        if self._running is None:
            raise RuntimeError("the gateway does not run")
        return self._running.runtime

    async def _start_late(self) -> Running:
        await self._first_request.started()
        if self._running is None:
            raise RuntimeError("the gateway was stopped while a request came in")
        return self._running


async def _has_what_routes_read(ctx: Context) -> bool:
    """Read the body of a request that a route decides about by it; False if that was answered."""
    if ctx.snapshot.router.may_read_body(ctx):
        try:
            await ctx.preload_body()
        except ClientGone:
            pass  # whoever answers finds out in its own way
        except DownstreamError as error:
            await _refuse(ctx, error)
            return False
    return True


async def _refuse(ctx: Context, error: DownstreamError) -> None:
    """Answer a request whose path or host is nonsense: no route, no plugin sees it."""
    logger.info("refused a request of %s: %s", ctx.scope.get("client"), error)
    ctx.plan = Plan()
    await ctx.reply(error_page(error.status))


def _single_callable(app: Any) -> ASGIApp:
    """Return an ASGI 3 app. Raises TypeError for what is none, such as a WSGI app."""
    if not callable(app):
        raise TypeError(f"not an ASGI app: {app!r}")
    is_asgi3 = not inspect.isclass(app) and _takes(app, 3)
    if not is_asgi3 and not _takes(app, 1):
        raise TypeError(f"not an ASGI app: {app!r}; wrap a WSGI app in asgiref.wsgi.WsgiToAsgi")
    single: ASGIApp = app if is_asgi3 else guarantee_single_callable(app)  # type: ignore[no-untyped-call]
    return single


def _takes(app: Any, count: int) -> bool:
    try:
        inspect.signature(app).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # compiled code that does not tell its signature: ASGI 3, as most is
        return count == 3
    return True
