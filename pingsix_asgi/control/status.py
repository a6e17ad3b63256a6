"""Whether the gateway is alive, ready, and what configuration it runs.

Readiness follows PingSIX: false before the first publication, when the store has been out of reach
for too long, between a reconnection and the publication after it, and while draining. A bad
configuration does not make the gateway unready: the last good one serves.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..clock import Clock
from ..config.open import Opened
from ..config.watch import StoreSource
from ..errors import SchemaError
from ..types import JSON, Receive, Scope, Send

STALE_AFTER_S = 300
"""Source: PingSIX, ``pingsix.status.config_stale_after``."""


class StoreStatus(Protocol):
    """How it stands with a store that is watched; times are monotonic."""

    is_connected: bool
    disconnected_at: float | None
    last_contact: float | None
    revision: int
    awaits_publish: bool
    last_error: str | None
    foreign_keys: set[str]


@dataclass(slots=True)
class Status:
    """The state readiness and diagnostics are answered from; the gateway keeps it up to date."""

    clock: Clock
    stale_after_s: float = STALE_AFTER_S
    fail_when_stale: bool = True
    source: str | None = None
    """Where the configuration comes from: "yaml", "env", "dict", "etcd" or "sqlite"."""
    store: StoreStatus | None = None
    """Set when the source is a store that can be out of reach; a file is never stale."""
    revision: int | None = None
    """Revision of the configuration in force; None before the first publication."""
    counts: dict[str, int] = field(default_factory=dict)
    errors: Sequence[SchemaError] = ()
    """What was left out of the configuration in force, resource by resource."""
    rejected: str | None = None
    """Why the newest configuration as a whole was not taken; None when it was."""
    is_draining: bool = False

    @classmethod
    def of(cls, clock: Clock, opened: Opened) -> Status:
        """Return the status of a configuration that was opened and not yet published."""
        given = opened.settings.status
        source = opened.source
        return cls(
            clock,
            given.config_stale_after if given else STALE_AFTER_S,
            given.fail_readiness_when_stale if given else True,
            opened.name,
            source.status if isinstance(source, StoreSource) else None,
        )

    def published(
        self, revision: int, counts: dict[str, int], errors: Sequence[SchemaError]
    ) -> None:
        """Note that a configuration went live."""
        self.revision, self.counts, self.errors = revision, counts, tuple(errors)
        self.rejected = None

    @property
    def is_stale(self) -> bool:
        """Whether the store has been out of reach for longer than allowed."""
        store = self.store
        if store is None or store.is_connected or store.disconnected_at is None:
            return False
        return self.clock.monotonic() - store.disconnected_at > self.stale_after_s

    def not_ready(self) -> str | None:
        """Return why no traffic should come here, or None when it may."""
        if self.is_draining:
            return "draining"
        if self.revision is None:
            return "not_initialized"
        if self.is_stale and self.fail_when_stale:
            return "config_stale"
        if self.store is not None and self.store.is_connected and self.store.awaits_publish:
            return "awaiting_publish_after_reconnect"
        return None

    def degraded(self) -> str | None:
        """Return what is wrong although the last good configuration serves."""
        store = self.store
        if self.revision is None:
            return None
        if store is not None and not store.is_connected:
            return "configuration sync is stale" if self.is_stale else f"{self.source} disconnected"
        if self._is_candidate_bad():
            return "latest configuration candidate is invalid"
        if store is not None and store.awaits_publish:
            return "awaiting publish after reconnect"
        return None

    def report(self) -> dict[str, JSON]:
        """Return the diagnostics document of ``/status/config``."""
        store = self.store
        reason = self.degraded()
        is_connected = store is None or store.is_connected
        age = None
        if store is not None and store.last_contact is not None:
            age = round(self.clock.monotonic() - store.last_contact, 3)
        observed = store.revision if store is not None else self.revision
        kind = "candidate_invalid" if self._is_candidate_bad() else None
        return {
            "initialized": self.revision is not None,
            "ready": self.not_ready() is None,
            "draining": self.is_draining,
            "config_source": self.source,
            "observed_revision": observed,
            "published_revision": self.revision,
            "revision": observed,
            "connected": is_connected,
            "degraded": reason is not None,
            "degraded_reason": reason,
            "last_success_age_secs": age,
            "error_kind": kind if is_connected else f"{self.source}_unavailable",
            "last_error": (store.last_error if store is not None else None) or self._last_error(),
            "counts": self.counts,
            "foreign_keys": sorted(store.foreign_keys) if store is not None else [],
            "errors": [
                {"kind": e.kind, "id": e.id, "path": e.path, "message": e.message}
                for e in self.errors
            ],
        }

    def _is_candidate_bad(self) -> bool:
        """Tell whether what was read last is not, or not all, in force."""
        failed = self.store is not None and self.store.is_connected and self.store.last_error
        return bool(self.errors or self.rejected or failed)

    def _last_error(self) -> str | None:
        return self.rejected or (str(self.errors[0]) if self.errors else None)


class StatusApp:
    """The status listener as an ASGI app: /status, /status/live, /status/ready, /status/config.

    ``/status/config`` needs no key on a loopback listener; elsewhere it exists only when
    ``diagnostics_key`` is given, and asks for it in X-API-KEY. ``health`` gives what checks say of
    each node.
    """

    def __init__(
        self,
        status: Status,
        *,
        is_loopback: bool = True,
        diagnostics_key: str | None = None,
        health: Callable[[], JSON] = list,
    ) -> None:
        self._status = status
        self._health = health
        self._is_loopback = is_loopback
        self._key = diagnostics_key.encode() if diagnostics_key else None
        self._answers: dict[str, Callable[[Scope], tuple[int, JSON]]] = {
            "/status": lambda _: (200, {"status": "ok"}),
            "/status/live": lambda _: (200, {"status": "ok"}),
            "/status/ready": lambda _: self._ready(),
            "/status/config": self._config,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = self._answers.get(scope["path"])
        status, document = answer(scope) if answer else (404, "Not Found")
        is_text = isinstance(document, str)
        body = document.encode() if is_text else json.dumps(document).encode()
        headers = [
            (b"content-type", b"text/plain" if is_text else b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": body})

    def _ready(self) -> tuple[int, JSON]:
        reason = self._status.not_ready()
        if reason is None:
            return 200, {"status": "ok"}
        return 503, {"status": "error", "reason": reason, "error": reason}

    def _config(self, scope: Scope) -> tuple[int, JSON]:
        if not self._is_loopback:
            if self._key is None:
                return 404, "Not Found"
            given = dict(scope["headers"]).get(b"x-api-key", b"")
            if not hmac.compare_digest(given, self._key):
                return 403, "Forbidden"
        return 200, {**self._status.report(), "health": self._health()}
