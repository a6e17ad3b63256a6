"""The supervisor, with workers that are one-line scripts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from pingsix_asgi.serving import supervisor
from pingsix_asgi.serving.options import ServeOptions
from pingsix_asgi.serving.supervisor import HANDOVER, Handover, Supervisor

CRASHES = f"""
import json, os
os.write(json.loads(os.environ[{HANDOVER!r}])["ready_fd"], b"1")
os._exit(7)
"""


async def test_a_signal_ends_the_wait_before_a_restart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF_S", 3600.0)
    options = ServeOptions(listeners=(), workers=1)
    running = asyncio.create_task(Supervisor([sys.executable, "-c", CRASHES], options, {}).run())
    async with asyncio.timeout(20):
        while "restarting in 3600.0 s" not in caplog.text:
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == 0


async def test_the_end_of_the_parent_is_told_once() -> None:
    parent_fd, alive_fd = os.pipe()
    told: list[None] = []
    Handover(1, ServeOptions(listeners=()), {}, 0, parent_fd).on_orphaned(lambda: told.append(None))
    os.close(alive_fd)
    for _ in range(20):
        await asyncio.sleep(0)
    os.close(parent_fd)
    assert told == [None]
