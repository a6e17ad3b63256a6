"""Keep Python's cycle collector from stalling requests while a large configuration loads.

A full collection looks at every object of the process: with 10 000 routes being built some 500 ms,
several times over, during which no request moves. What a configuration is made of has no cycles, so
there is nothing to find: the collector rests during the build and leaves the result alone.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from ..clock import Clock

LARGE = 500
"""Documents in one burst from which on the result is left alone; fewer are no burden."""
BURST_S = 5.0
"""Changes further apart do not belong to one burst."""


class Collector:
    """Rests the collector during loads. It is one per process; so are its pauses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._burst = 0
        self._changed_at = clock.monotonic()

    @contextmanager
    def resting(self, documents: int) -> Iterator[None]:
        """Switch the collector off while ``documents`` changes are read, built and published."""
        now = self._clock.monotonic()
        if now - self._changed_at > BURST_S:
            self._burst = 0
        self._burst += documents
        if documents == 0 or not gc.isenabled():
            yield
            return
        if self._burst >= LARGE:
            gc.collect(1)  # what is young and in cycles must not be kept for ever by the freeze
        gc.disable()
        try:
            yield
        finally:
            if self._burst >= LARGE:
                gc.freeze()
                self._burst = 0
            self._changed_at = self._clock.monotonic()
            gc.enable()
