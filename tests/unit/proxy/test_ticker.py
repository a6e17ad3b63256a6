"""The coarse timer: it runs only while something is under way, and is lenient after a stall."""

from __future__ import annotations

import asyncio

from pingsix_asgi.errors import UpstreamTimeout
from pingsix_asgi.proxy.exchange import Exchange
from pingsix_asgi.proxy.ticker import TICK_S, Ticker
from pingsix_asgi.types import Message
from pingsix_asgi.upstream.node import Timeouts


class Recorder:
    """Counts its ticks; leaves the ticker after a number of them."""

    def __init__(self, ticker: Ticker, ticks: int) -> None:
        self.ticker = ticker
        self.left = ticks
        self.seen: list[tuple[float, bool]] = []
        self.done = asyncio.Event()

    def tick(self, now: float, enforce: bool) -> None:
        self.seen.append((now, enforce))
        self.left -= 1
        if self.left == 0:
            self.ticker.busy.discard(self)
            self.done.set()


async def test_it_ticks_while_something_is_under_way_and_then_stops() -> None:
    ticker = Ticker()
    recorder = Recorder(ticker, 2)
    ticker.add(recorder)
    await asyncio.wait_for(recorder.done.wait(), 5)
    while ticker.loop is not None:
        await asyncio.sleep(TICK_S / 10)
    assert len(recorder.seen) == 2
    assert "0 under way" in repr(ticker)


async def test_after_a_stall_no_deadline_counts() -> None:
    now = [100.0]
    ticker = Ticker(lambda: now[0])
    recorder = Recorder(ticker, 3)
    ticker.add(recorder)
    steps = [0.1, 5.0, 0.1]
    for number, step in enumerate(steps, 1):
        now[0] += step
        ticker._tick()
        assert len(recorder.seen) == number
    assert [enforce for _, enforce in recorder.seen] == [True, False, True]


def test_another_loop_takes_over() -> None:
    ticker = Ticker()

    async def enter(recorder: Recorder) -> None:
        assert ticker.add(recorder) is asyncio.get_running_loop()
        assert ticker.busy == {recorder}
        ticker._tick()
        assert len(recorder.seen) == 1

    asyncio.run(enter(Recorder(ticker, 2)))
    asyncio.run(enter(Recorder(ticker, 2)))


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def make_exchange() -> Exchange:
    return Exchange(Timeouts(1, 2, 3), never, Ticker())


async def test_a_deadline_counts_only_while_waiting() -> None:
    exchange = make_exchange()
    waiter = exchange.wait("read", 3)
    exchange.tick(exchange.deadline - 0.01, True)
    assert not waiter.done()
    exchange.tick(exchange.deadline + 0.01, False)
    assert not waiter.done()
    exchange.tick(exchange.deadline + 0.01, True)
    error = waiter.exception()
    assert isinstance(error, UpstreamTimeout)
    assert error.step == "read"
    exchange.end()

    exchange = make_exchange()
    exchange.wait("read", 3)
    exchange.wake()
    exchange.tick(exchange.deadline + 100, True)
    assert exchange.error is None
    exchange.end()


async def test_waiting_after_a_failure_fails_at_once() -> None:
    exchange = make_exchange()
    exchange.fail(UpstreamTimeout("read"))
    assert isinstance(exchange.wait("read", 3).exception(), UpstreamTimeout)
    exchange.end()


async def test_the_first_failure_stays() -> None:
    exchange = make_exchange()
    first = UpstreamTimeout("read")
    exchange.fail(first)
    exchange.fail(UpstreamTimeout("send"))
    assert exchange.error is first
    exchange.end()


async def test_clients_are_watched_only_when_it_takes_long() -> None:
    exchange = make_exchange()
    exchange.wait("read", 30)
    before = asyncio.all_tasks()
    exchange.tick(exchange.started, True)
    assert asyncio.all_tasks() == before
    exchange.tick(exchange.started, True)
    assert len(asyncio.all_tasks() - before) == 1
    exchange.tick(exchange.started, True)
    assert len(asyncio.all_tasks() - before) == 1
    exchange.end()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
