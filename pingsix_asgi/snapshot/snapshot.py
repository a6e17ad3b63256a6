"""One complete, compiled configuration. Never changed: a request keeps the one it started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..context import Match
from ..errors import SchemaError
from ..model.ssl import SSL
from ..routing.router import Router
from ..upstream.upstream import Upstream
from .consumers import EMPTY_INDEX, ConsumerIndex

if TYPE_CHECKING:
    from .state import State


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What the gateway serves by."""

    router: Router
    unmatched: Match
    """For requests no route takes: global rules, then the wrapped app or a 404."""
    revision: int = 0
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    """Every upstream in use by key: "upstreams/1", "routes/1" for an inline one, and so on."""
    ssls: Mapping[str, SSL] = field(default_factory=dict)
    """Certificates that are on, by id; and, locked, those that demand client certificates and did
    not compile: their names must not be served without asking."""
    consumers: ConsumerIndex = EMPTY_INDEX
    errors: tuple[SchemaError, ...] = ()
    """What is wrong with single resources: left out, or in force as they were before."""
    fresh: tuple[Upstream, ...] = ()
    """Upstreams that the snapshot it was built on did not have: to be started."""
    retired: tuple[Upstream, ...] = ()
    """Upstreams of that snapshot that this one does not have: to be stopped."""
    built_on: int = -1
    """``Runtime.published`` at that time; -1 for a snapshot built on none."""
    changed: tuple[str, ...] = ()
    """Resources compiled for this snapshot ("routes/1"); all others were taken over."""
    state: State | None = None
    """What the next build starts from."""

    @property
    def counts(self) -> dict[str, int]:
        """Return how many resources of each kind are in force."""
        return self.state.counts() if self.state else {}
