"""A TLS listener: a context whose certificates are live, and the guard before the gateway."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import __version__
from ..tls.certificates import Certificates
from ..tls.guard import TLSGuard
from ..tls.listener import listener_context
from .options import Listener
from .own_certificates import read_own
from .tls_protocols import MakeApp

if TYPE_CHECKING:
    from ..app import PingSIX


@dataclass(frozen=True, slots=True)
class TLSListener:
    """``context`` for handshakes; ``make_app`` gives the app for each connection's requests."""

    context: ssl.SSLContext
    make_app: MakeApp


def tls_listener(gateway: PingSIX, listener: Listener) -> TLSListener:
    """Prepare a listener with the certificates of the gateway's configuration.

    The pair in the listener's own files, read now, is shown for names no ``ssls`` resource has.
    Raises SchemaError when it cannot be read or does not load.
    """
    alpn = ("h2", "http/1.1") if listener.http2 else ("http/1.1",)
    current = live_certificates(gateway, alpn)
    own = None
    if listener.cert_path is not None:
        own = read_own(listener.cert_path, listener.key_path or "")
    context = listener_context(current, alpn, own=own, fallback_sni=listener.fallback_sni)
    name = f"PingSIX/{__version__}" if gateway.settings.enable_server_tokens else "PingSIX"
    return TLSListener(context, TLSGuard(gateway, current, name).connection)


def live_certificates(gateway: PingSIX, alpn: tuple[str, ...]) -> Callable[[], Certificates]:
    """Return what gives the certificates of the gateway's configuration in force.

    To be called while the gateway runs. ``alpn``: protocols offered, the preferred one first.
    """
    current = Certificates({}, alpn)
    seen: object = None

    def certificates() -> Certificates:
        nonlocal current, seen
        ssls = gateway.runtime.snapshot.ssls
        if ssls is not seen:
            current, seen = Certificates(ssls, alpn, current), ssls
        return current

    return certificates
