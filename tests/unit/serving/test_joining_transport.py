"""What is written in one step goes out in one piece, and nothing stays behind."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from pingsix_asgi.serving.joining_transport import JoiningTransport


class Wire:
    """Records what a transport is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def write_eof(self) -> None:
        self.told.append("eof")

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    def is_closing(self) -> bool:
        return True


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def transport(wire: Wire) -> JoiningTransport:
    return JoiningTransport(cast("asyncio.Transport", wire), asyncio.get_running_loop())


async def test_writes_of_one_step_are_one(wire: Wire, transport: JoiningTransport) -> None:
    transport.write(b"head ")
    transport.write(b"")
    transport.write(b"body")
    assert wire.told == []
    await asyncio.sleep(0)
    assert wire.told == [b"head body"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert wire.told == [b"head body", b"next"]


async def test_large_writes_do_not_wait(wire: Wire, transport: JoiningTransport) -> None:
    transport.write(b"head ")
    transport.write(b"x" * 100_000)
    assert wire.told == [b"head " + b"x" * 100_000]


async def test_closing_sends_what_is_held(wire: Wire, transport: JoiningTransport) -> None:
    transport.write(b"bye")
    transport.close()
    await asyncio.sleep(0)
    assert wire.told == [b"bye", "close"]


async def test_every_way_of_writing_keeps_the_order(
    wire: Wire, transport: JoiningTransport
) -> None:
    transport.write(b"a")
    transport.writelines([b"b", b"c"])
    transport.write_eof()
    assert wire.told == [b"abc", "eof"]


async def test_aborting_drops_what_is_held(wire: Wire, transport: JoiningTransport) -> None:
    transport.write(b"bye")
    transport.abort()
    await asyncio.sleep(0)
    assert wire.told == ["abort"]


async def test_the_rest_is_the_transports_own(transport: JoiningTransport) -> None:
    assert transport.is_closing()
