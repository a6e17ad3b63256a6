"""Work of a plugin that no client waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Errands:
    """Tasks under way, at most ``most``; what is left when the gateway stops is cancelled."""

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._tasks: set[asyncio.Task[None]] = set()

    def has_room(self) -> bool:
        """Tell whether one more may be started."""
        return len(self._tasks) < self._most

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work``, which tells of its own errors."""
        task = asyncio.create_task(work, name=self._name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Cancel what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
