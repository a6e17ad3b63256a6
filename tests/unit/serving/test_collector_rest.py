"""What is loaded when the gateway starts is out of the cycle collector's sight, once for all."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from pingsix_asgi import PingSIX


@pytest.fixture(autouse=True)
def _all_in_sight() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


async def start_and_stop() -> None:
    app = PingSIX(config={"routes": [{"id": "1", "uri": "/*", "plugins": {}}]})
    await app.startup()
    await app.shutdown()


async def test_a_start_freezes_and_the_next_leaves_it_at_that() -> None:
    await start_and_stop()
    frozen = gc.get_freeze_count()
    assert frozen > 10_000
    await start_and_stop()
    assert gc.get_freeze_count() <= frozen


async def test_a_collector_that_rests_is_left_alone() -> None:
    gc.disable()
    try:
        await start_and_stop()
        assert gc.get_freeze_count() == 0
    finally:
        gc.enable()
