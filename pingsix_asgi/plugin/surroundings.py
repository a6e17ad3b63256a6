"""What the settings of the gateway say that plugins go by."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..http.addresses import AddressSet


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The gateway around its plugins; the defaults are those of a plugin on its own.

    Found by ``host.keep(Surroundings, Surroundings)``: what starts a gateway has put it there.
    """

    trusted: AddressSet = field(default_factory=lambda: AddressSet(()))
    """Peers whose X-Forwarded-… is believed, the setting ``trusted_addresses``."""
    https_port: int | None = None
    """Where the gateway itself listens for TLS; None: nowhere."""
