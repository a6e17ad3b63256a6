"""Which responses are being fetched, so that one fetch serves everybody who wants the same."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

WAIT_S: Final = 5.0
"""How long a request waits for another one's fetch. Source: PingSIX's cache lock."""

STUCK_S: Final = 0.5
"""How long the client of a fetch may take for one piece while others wait for it."""


class Flight:
    """One fetch under way."""

    __slots__ = ("_key", "_landed", "_others", "is_left", "is_spoiled", "sending_since")

    def __init__(self, others: dict[str, list[Flight]], key: str) -> None:
        self._others = others
        self._key = key
        self._landed = asyncio.Event()
        others.setdefault(key, []).append(self)
        self.is_spoiled = False
        """What it brings was purged before it came, and is not to be stored."""
        self.is_left = False
        """It took too long, and nobody is to wait for it any more."""
        self.sending_since: float | None = None
        """Since when its client has been taking a piece, by the monotonic clock."""

    def land(self) -> None:
        """Let those go on who wait for it; it may be called again."""
        if not self._landed.is_set():
            under_way = self._others[self._key]
            under_way.remove(self)
            if not under_way:
                del self._others[self._key]
            self._landed.set()

    async def landed(self) -> None:
        """Wait until it has landed, at most ``WAIT_S``, and not for a client that does not read.

        One that was waited for in vain is left: somebody else may begin to fetch the same.
        """
        until = monotonic() + WAIT_S
        while not self._landed.is_set():
            now, since = monotonic(), self.sending_since
            if now >= until or (since is not None and now - since >= STUCK_S):
                self.is_left = True
                return
            try:
                async with asyncio.timeout(min(until - now, STUCK_S)):
                    await self._landed.wait()
            except TimeoutError:
                continue


class Flights:
    """The fetches under way for one store, by key; those of this process only."""

    def __init__(self) -> None:
        self._flights: dict[str, list[Flight]] = {}

    def find(self, key: str) -> Flight | None:
        """Return the fetch under way for a key that may be waited for."""
        under_way = self._flights.get(key)
        return None if not under_way or under_way[-1].is_left else under_way[-1]

    def begin(self, key: str) -> Flight | None:
        """Begin a fetch; None when there is one for the key already."""
        return None if self.find(key) else Flight(self._flights, key)

    def spoil(self, key: str) -> None:
        """Keep the fetches under way from being stored: their key was purged."""
        for flight in self._flights.get(key, ()):
            flight.is_spoiled = True
