"""The gateway starts before the app and stops after it, whatever the app does."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from pingsix_asgi.errors import SourceError
from pingsix_asgi.serving.lifespan import FirstRequest, Lifespan
from pingsix_asgi.types import ASGIApp, Message, Receive, Scope, Send

UP, DOWN = "lifespan.startup", "lifespan.shutdown"
SCOPE: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}


class Run:
    """A server's side of one lifespan, with everything that happened in order."""

    def __init__(self, app: ASGIApp | None, broken: Exception | None = None) -> None:
        self.log: list[Any] = []
        self._app = app
        self._broken = broken
        self._incoming = [UP, DOWN]

    async def __call__(self, scope: Scope = SCOPE) -> list[Any]:
        lifespan = Lifespan(self._receive, self._send, start=self._start, stop=self._stop)
        try:
            await lifespan.run(self._app, scope)
        finally:
            self.log = [entry for i, entry in enumerate(self.log) if entry not in self.log[:i]]
        return self.log

    async def _receive(self) -> Message:
        return {"type": self._incoming.pop(0)}

    async def _send(self, message: Message) -> None:
        self.log.append(message.get("message") or message["type"].removeprefix("lifespan."))

    async def _start(self) -> None:
        if self._broken:
            raise self._broken
        self.log.append("gateway up")

    async def _stop(self) -> None:
        self.log.append("gateway down")


def well_behaved(log: Callable[[str], None]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == UP
        log("app up")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == DOWN
        log("app down")
        await send({"type": "lifespan.shutdown.complete"})

    return app


ALONE = ["gateway up", "startup.complete", "gateway down", "shutdown.complete"]


async def test_order() -> None:
    run = Run(None)
    run._app = well_behaved(run.log.append)
    assert await run() == [
        "gateway up", "app up", "startup.complete", "app down", "gateway down", "shutdown.complete",
    ]  # fmt: skip


async def test_no_app() -> None:
    assert await Run(None)() == ALONE


async def test_an_app_that_refuses_the_scope() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("only http here")

    assert await Run(app)() == ALONE


async def test_an_app_that_ignores_the_scope() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        return

    assert await Run(app)() == ALONE


async def test_an_app_that_leaves_after_start_up() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    assert await Run(app)() == ALONE


async def test_a_failed_start_of_the_app_is_passed_on_and_stops_the_gateway() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    assert await Run(app)() == ["gateway up", "gateway down", "no database"]


async def test_a_crash_after_start_up_was_asked_reaches_the_server() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise RuntimeError("boom")

    run = Run(app)
    with pytest.raises(RuntimeError, match="boom"):
        await run()
    assert run.log == ["gateway up", "gateway down"]


async def test_a_failed_shutdown_is_passed_on() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "stuck"})

    assert await Run(app)() == ["gateway up", "startup.complete", "gateway down", "stuck"]


async def test_a_gateway_that_cannot_start_says_why_and_never_asks_the_app() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("must not run")

    run = Run(app, broken=SourceError("gateway.yaml: not there"))
    assert await run() == ["gateway down", "gateway.yaml: not there"]


async def test_the_app_gets_the_scope_itself() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope is given
        scope["state"]["pool"] = 1

    given: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    await Run(app)(given)
    assert given["state"] == {"pool": 1}


class Gateway:
    def __init__(self) -> None:
        self.starts = self.stops = 0
        self.broken = False
        self.first = FirstRequest(start=self.start, stop=self.stop)

    async def start(self) -> None:
        assert variable.get("unset") == "unset"
        self.starts += 1
        await asyncio.sleep(0)
        if self.broken:
            raise SourceError("no file")

    async def stop(self) -> None:
        self.stops += 1


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


def test_the_first_requests_share_one_start_and_the_loop_s_end_stops_it() -> None:
    gateway = Gateway()

    async def requests() -> None:
        variable.set("of the request")
        await asyncio.gather(*[gateway.first.started() for _ in range(5)])
        await gateway.first.started()

    asyncio.run(requests())
    assert (gateway.starts, gateway.stops) == (1, 1)
    asyncio.run(requests())
    assert (gateway.starts, gateway.stops) == (2, 2)


async def test_a_failed_start_is_told_to_all_who_wait_and_tried_again() -> None:
    gateway = Gateway()
    gateway.broken = True
    outcomes = await asyncio.gather(
        *[gateway.first.started() for _ in range(3)], return_exceptions=True
    )
    assert [str(outcome) for outcome in outcomes] == ["no file"] * 3
    assert (gateway.starts, gateway.stops) == (1, 1)
    gateway.broken = False
    await gateway.first.started()
    assert gateway.starts == 2


async def test_a_client_that_leaves_during_the_start_does_not_stop_it() -> None:
    gateway = Gateway()
    impatient = asyncio.create_task(gateway.first.started())
    patient = asyncio.create_task(gateway.first.started())
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert (gateway.starts, gateway.stops) == (1, 0)
