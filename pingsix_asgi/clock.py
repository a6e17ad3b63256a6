"""The time seam: whatever measures or waits asks a Clock, so tests can move time themselves."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Source of time, in seconds."""

    def monotonic(self) -> float:
        """Return a value that never goes back; for durations and deadlines."""

    def time(self) -> float:
        """Return Unix time; for dates only."""


class SystemClock:
    """The machine's clock."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
