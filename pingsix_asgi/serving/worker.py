"""One worker: one gateway on one event loop, its servers, its signals, its drain.

SIGTERM, SIGQUIT and SIGHUP drain: readiness fails and answers close their connections, after the
drain delay nothing is accepted any more, requests in flight get the grace period, then pools close.
SIGINT, or a second signal, ends what is left at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from socket import socket
from typing import Protocol

from .options import Listener, ServeOptions
from .sockets import StartupError, address_of

logger = logging.getLogger("pingsix_asgi.serving")

QUICK_GRACE_S = 0.5
"""What requests in flight get after SIGINT."""


def draining_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that begin a drain; SIGHUP unless nohup made the process ignore it."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGTERM, signal.SIGQUIT
    return signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP


class Host(Protocol):
    """A server on one listener."""

    async def run_until_closed(self) -> None:
        """Serve until ``close`` was called and its requests have ended."""

    async def wait_ready(self) -> None:
        """Return once connections are accepted."""

    def send_clients_away(self) -> None:
        """Let answers close their connections from now on."""

    def close(self, grace_s: float) -> None:
        """Stop accepting and give requests in flight ``grace_s`` seconds."""

    def abort(self) -> None:
        """After ``close``: end what is still in flight."""


class Drainable(Protocol):
    """What the worker needs of a gateway."""

    async def startup(self) -> None:
        """Load the configuration and start what runs beside requests. Raises PingSIXError."""

    async def shutdown(self) -> None:
        """Stop what ``startup`` started."""

    def drain(self) -> None:
        """Fail readiness from now on."""


class Worker:
    """Runs a gateway on its listeners until a signal ends it."""

    def __init__(
        self,
        gateway: Drainable,
        options: ServeOptions,
        sockets: Mapping[Listener, socket],
        make_host: Callable[[Listener, socket], Host],
    ) -> None:
        self._gateway = gateway
        self._options = options
        self._sockets = sockets
        self._make_host = make_host
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until a signal comes and the drain is over.

        Calls ``on_ready`` once every listener accepts. Raises ConfigError or StartupError when the
        gateway cannot start, StartupError when a server ends by itself.
        """
        self._handle_signals()
        if not await self._unless_stopped(self._gateway.startup()):
            return
        try:
            hosts = {
                listener: self._make_host(listener, sock)
                for listener, sock in self._sockets.items()
            }
            serving = {
                asyncio.create_task(host.run_until_closed(), name=f"pingsix-{listener.role}")
                for listener, host in hosts.items()
            }
            await self._until_stopped(hosts, serving, on_ready)
            await self._drain(hosts, serving)
        finally:
            await self._gateway.shutdown()

    def stop(self) -> None:
        """Begin the drain; the second call ends it at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    def interrupt(self) -> None:
        """End without a drain."""
        self._hurry.set()
        self._stopping.set()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in draining_signals():
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.interrupt)

    async def _unless_stopped(self, start: Awaitable[None]) -> bool:
        """Await the start-up, cancelling it when a signal comes first; False then."""
        starting = asyncio.ensure_future(start)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                return True
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            return False
        finally:
            stopping.cancel()

    async def _until_stopped(
        self,
        hosts: Mapping[Listener, Host],
        serving: set[asyncio.Task[None]],
        on_ready: Callable[[], None],
    ) -> None:
        ready = asyncio.ensure_future(self._all_ready(hosts))
        stopping = asyncio.ensure_future(self._stopping.wait())
        waiting = {ready, stopping, *serving}
        try:
            while not stopping.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done & serving:
                    raise StartupError(f"{task.get_name()} ended by itself") from task.exception()
                if ready in done:
                    ready.result()
                    logger.info("ready")
                    on_ready()
        finally:
            ready.cancel()
            stopping.cancel()

    async def _all_ready(self, hosts: Mapping[Listener, Host]) -> None:
        for listener, host in hosts.items():
            await host.wait_ready()
            address = address_of(self._sockets[listener])
            scheme = "https" if listener.is_tls else "http"
            logger.info("%s listening on %s://%s", listener.role, scheme, address)

    async def _drain(
        self, hosts: Mapping[Listener, Host], serving: set[asyncio.Task[None]]
    ) -> None:
        """Close the data plane first: probes and scrapes are answered until its last request."""
        self._gateway.drain()
        logger.info("draining")
        data_plane = [host for listener, host in hosts.items() if listener.role == "gateway"]
        rest = [host for listener, host in hosts.items() if listener.role != "gateway"]
        for host in data_plane:
            host.send_clients_away()
        await self._pause(self._options.drain_delay_s)
        hurrying = asyncio.create_task(self._close_when_hurried(list(hosts.values())))
        for host in data_plane:
            host.close(self._options.grace_period_s)
        await _settle([task for task in serving if task.get_name() == "pingsix-gateway"])
        for host in rest:
            host.close(QUICK_GRACE_S)
        await _settle(list(serving))
        hurrying.cancel()
        logger.info("stopped")

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)

    async def _close_when_hurried(self, hosts: list[Host]) -> None:
        await self._hurry.wait()
        await asyncio.sleep(QUICK_GRACE_S)
        for host in hosts:
            host.abort()


async def _settle(tasks: list[asyncio.Task[None]]) -> None:
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            logger.error("a server failed while closing: %s", outcome, exc_info=outcome)
