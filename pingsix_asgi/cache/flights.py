"""Which responses are being fetched, so that one fetch serves everybody who wants the same."""

from __future__ import annotations

import asyncio

WAIT_S = 5.0
"""How long a request waits for another one's fetch. Source: PingSIX's cache lock."""


class Flight:
    """One fetch under way."""

    __slots__ = ("_key", "_landed", "_others", "is_spoiled")

    def __init__(self, others: dict[str, Flight], key: str) -> None:
        self._others = others
        self._key = key
        self._landed = asyncio.Event()
        self.is_spoiled = False
        """What it brings was purged before it came, and is not to be stored."""

    def land(self) -> None:
        """Let those go on who wait for it; it may be called again."""
        if not self._landed.is_set():
            del self._others[self._key]
            self._landed.set()

    async def landed(self) -> None:
        """Wait until it has landed, at most ``WAIT_S``."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._landed.wait()
        except TimeoutError:
            return


class Flights:
    """The fetches under way for one store, by key; those of this process only."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def find(self, key: str) -> Flight | None:
        """Return the fetch under way for a key."""
        return self._flights.get(key)

    def begin(self, key: str) -> Flight | None:
        """Begin a fetch; None when there is one for the key already."""
        if key in self._flights:
            return None
        flight = self._flights[key] = Flight(self._flights, key)
        return flight

    def spoil(self, key: str) -> None:
        """Keep the fetch under way from being stored: its key was purged."""
        if key in self._flights:
            self._flights[key].is_spoiled = True
