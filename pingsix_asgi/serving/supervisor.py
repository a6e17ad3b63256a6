"""The parent of several workers: starts them, restarts the crashed, passes signals on.

Workers are fresh processes that inherit the listening sockets: nothing of the parent's state is
shared, a connection waiting in the kernel outlives the worker that did not get to it, and a parent
that dies takes its workers with it (they see the end of a pipe).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from socket import socket

import anyio
from anyio.abc import Process, TaskStatus

from ..shared.place import DIRECTORY_VARIABLE
from .options import Listener, ServeOptions
from .sockets import adopt
from .worker import draining_signals

logger = logging.getLogger("pingsix_asgi.serving")

HANDOVER = "_PINGSIX_WORKER"
"""Environment variable that makes a process a worker and says what it inherits."""

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
STABLE_AFTER_S = 30.0
"""A worker that lived this long is restarted at once."""

START_UP_FAILURE = 3


@dataclass(frozen=True, slots=True)
class Handover:
    """What a worker gets: its number (from 1), options, sockets, and two pipes to the parent."""

    number: int
    options: ServeOptions
    sockets: dict[Listener, socket]
    ready_fd: int
    parent_fd: int
    """End of file here means that the parent is gone."""

    @classmethod
    def received(cls) -> Handover | None:
        """Return what the parent handed over, or None in a process that has no such parent."""
        text = os.environ.pop(HANDOVER, None)
        if text is None:
            return None
        given = json.loads(text)
        listeners = tuple(Listener(**fields) for fields in given["options"].pop("listeners"))
        return cls(
            given["number"],
            ServeOptions(listeners=listeners, **given["options"]),
            {listener: adopt(fd) for listener, fd in zip(listeners, given["fds"], strict=True)},
            given["ready_fd"],
            given["parent_fd"],
        )

    def tell_ready(self) -> None:
        """Tell the parent that requests are answered."""
        os.write(self.ready_fd, b"1")
        os.close(self.ready_fd)

    def on_orphaned(self, stop: Callable[[], None]) -> None:
        """Call ``stop`` once, from the running event loop, when the parent is gone."""
        loop = asyncio.get_running_loop()

        def orphaned() -> None:
            loop.remove_reader(self.parent_fd)  # the end of a file can be read again and again
            stop()

        loop.add_reader(self.parent_fd, orphaned)


@contextlib.contextmanager
def shared_directory() -> Iterator[None]:
    """Let workers share limits and metrics, in a directory that is gone afterwards.

    One that the environment names already is used, and stays.
    """
    if os.environ.get(DIRECTORY_VARIABLE):
        yield
        return
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - memory, not disk
    with tempfile.TemporaryDirectory(prefix="pingsix-", dir=parent) as directory:
        os.environ[DIRECTORY_VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[DIRECTORY_VARIABLE]


class Supervisor:
    """Keeps ``options.workers`` processes of ``command`` running."""

    def __init__(
        self, command: Sequence[str], options: ServeOptions, sockets: Mapping[Listener, socket]
    ) -> None:
        self._command = list(command)
        self._options = options
        self._sockets = sockets
        self._running: dict[int, Process] = {}
        self._stopping = anyio.Event()
        self._exit_code = 0
        self._parent_fd, self._alive_fd = os.pipe()

    async def run(self) -> int:
        """Run until a signal ends all workers; returns the exit code.

        A worker that fails before it was ever ready ends everything with its exit code: its reason
        (a bad configuration, say) would stop the others too.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._pass_signals)
            await self._run_workers()
            group.cancel_scope.cancel()
        return self._exit_code

    async def _run_workers(self) -> None:
        async with anyio.create_task_group() as group:
            # The first one alone, so that what is wrong is said once and not by every worker.
            await group.start(self._keep, 1)
            if self._exit_code or self._stopping.is_set():
                return
            for number in range(2, self._options.workers + 1):
                group.start_soon(self._keep, number)

    async def _keep(
        self, number: int, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep one worker running."""
        backoff, was_ready = FIRST_BACKOFF_S, False
        while not self._stopping.is_set():
            started = time.monotonic()
            process, is_ready = await self._start(number)
            if is_ready and not was_ready:
                was_ready = True
                task_status.started()
            code = await process.wait()
            self._running.pop(number, None)
            if self._stopping.is_set():
                break
            if not was_ready:
                self._exit_code = code or START_UP_FAILURE
                self._stop_others()
                break
            if time.monotonic() - started > STABLE_AFTER_S:
                backoff = FIRST_BACKOFF_S
            logger.error("worker %d ended with %s, restarting in %.1f s", number, code, backoff)
            with anyio.move_on_after(backoff):
                await self._stopping.wait()
            backoff = min(backoff * 2, LONGEST_BACKOFF_S)
        if not was_ready:
            task_status.started()

    async def _start(self, number: int) -> tuple[Process, bool]:
        """Start a worker; returns it with whether it got ready (it ended otherwise)."""
        ready_fd, told_fd = os.pipe()
        fds = [self._sockets[listener].fileno() for listener in self._options.listeners]
        handover = {
            "number": number,
            "options": asdict(self._options),
            "fds": fds,
            "ready_fd": told_fd,
            "parent_fd": self._parent_fd,
        }
        try:
            process = await anyio.open_process(
                self._command,
                stdin=None,
                stdout=None,
                stderr=None,
                env={**os.environ, HANDOVER: json.dumps(handover)},
                pass_fds=(*fds, told_fd, self._parent_fd),
                # A terminal sends Ctrl-C to the whole group; workers get it from the parent alone.
                start_new_session=True,
            )
        finally:
            os.close(told_fd)
        self._running[number] = process
        if self._stopping.is_set():
            process.send_signal(signal.SIGTERM)
        await anyio.wait_readable(ready_fd)
        is_ready = os.read(ready_fd, 1) == b"1"
        os.close(ready_fd)
        return process, is_ready

    async def _pass_signals(self) -> None:
        with anyio.open_signal_receiver(*draining_signals(), signal.SIGINT) as signals:
            async for number in signals:
                self._stopping.set()
                self._signal_all(number)

    def _stop_others(self) -> None:
        self._stopping.set()
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._running.values():
            if process.returncode is None:
                process.send_signal(number)
