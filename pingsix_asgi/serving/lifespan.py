"""The lifespan of gateway and wrapped app as one: the gateway starts first and stops last.

Everything happens in the task the server runs the lifespan in, so context variables and cancel
scopes of the app behave as they do without the gateway.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable

from ..errors import PingSIXError
from ..types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("pingsix_asgi.lifespan")

Step = Callable[[], Awaitable[None]]


class Lifespan:
    """One run of the lifespan protocol between a server, the gateway and the app behind it."""

    def __init__(self, receive: Receive, send: Send, *, start: Step, stop: Step) -> None:
        """``start`` and ``stop`` are the gateway's; ``stop`` may be called after it stopped."""
        self._server_receive = receive
        self._server_send = send
        self._start = start
        self._stop = stop
        self._first: Message | None = None
        self._was_asked = False
        self._is_up = False
        self._is_down = False

    async def run(self, app: ASGIApp | None, scope: Scope) -> None:
        """Speak the protocol to its end. What the app raises after it took part goes on."""
        self._first = await self._server_receive()
        try:
            await self._start()
        except PingSIXError as error:
            # Not logged: the server writes the message down.
            await self._send_down({"type": "lifespan.startup.failed", "message": str(error)})
            return
        try:
            if app is not None:
                await self._run_app(app, scope)
            await self._finish()
        finally:
            await self._stop()

    async def _run_app(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception:
            if self._was_asked:
                raise
            logger.info("the wrapped app does not take part in the lifespan", exc_info=False)

    async def _finish(self) -> None:
        """Do for an app without lifespan, or for none, what it would have done."""
        if not self._is_up:
            await self._send({"type": "lifespan.startup.complete"})
        if not self._is_down:
            message = await self._server_receive()
            if message["type"] == "lifespan.shutdown":
                await self._send({"type": "lifespan.shutdown.complete"})

    async def _receive(self) -> Message:
        self._was_asked = True
        if self._first is not None:
            message, self._first = self._first, None
            return message
        return await self._server_receive()

    async def _send(self, message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            self._is_up = True
            await self._server_send(message)
        else:
            await self._send_down(message)

    async def _send_down(self, message: Message) -> None:
        """Send the last word, after the gateway has stopped."""
        self._is_up = self._is_down = True
        await self._stop()
        await self._server_send(message)


class FirstRequest:
    """Starts the gateway on its first request, for servers that run no lifespan.

    One task keeps it running: event loops that are run to their end cancel what is left on them,
    and that is when the gateway stops. A request on another loop after that starts it again.
    """

    def __init__(self, *, start: Step, stop: Step) -> None:
        self._start = start
        self._stop = stop
        self._living: asyncio.Task[None] | None = None
        self._up: asyncio.Future[None]

    async def started(self) -> None:
        """Return when the gateway runs; whoever comes first starts it, the others wait.

        Raises what the start raised. The next request tries again.
        """
        if self._living is None or self._living.done():
            loop = asyncio.get_running_loop()
            self._up = loop.create_future()
            # In a context of its own: what the first request set must not live on in our tasks.
            self._living = loop.create_task(
                self._live(self._up), name="pingsix-gateway", context=contextvars.Context()
            )
        await asyncio.shield(self._up)

    async def _live(self, up: asyncio.Future[None]) -> None:
        try:
            await self._start()
            up.set_result(None)
            await asyncio.get_running_loop().create_future()
        except Exception as error:
            up.set_exception(error)
        finally:
            if not up.done():
                up.cancel()
            await self._stop()
