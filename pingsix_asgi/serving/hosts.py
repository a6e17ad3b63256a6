"""What answers on each listener: the gateway, its status, its metrics, the Admin API."""

from __future__ import annotations

from socket import socket
from typing import TYPE_CHECKING

from ..config.open import open_store
from ..config.watch import StoreSource
from ..control.admin import AdminAPI
from ..control.status import StatusApp
from ..errors import ConfigError
from ..model.setting_types import is_loopback
from ..types import ASGIApp
from ..upstream.upstream import NodeStatus
from .metrics import MetricsApp
from .options import Listener, ServeOptions
from .running import keyring_of
from .sockets import StartupError
from .uvicorn_host import UvicornHost
from .worker import Host

if TYPE_CHECKING:
    from ..app import PingSIX
    from .tls_listener import TLSListener


class Hosts:
    """Makes the server of every listener of one gateway."""

    def __init__(self, gateway: PingSIX, options: ServeOptions) -> None:
        self._gateway = gateway
        self._options = options

    def make(self, listener: Listener, sock: socket) -> Host:
        """Return the host of a listener. Raises ConfigError, StartupError."""
        app = self._app(listener)
        if listener.role != "gateway":
            return UvicornHost(app, sock, parser="httptools")
        if self._options.server == "granian":
            if listener.is_tls and listener.cert_path is None:
                raise StartupError("granian needs tls.cert_path: it shows no certificates of ssls")
            return self._granian(app, sock, listener)
        return UvicornHost(
            app,
            sock,
            parser="zttp" if listener.http2 else self._options.parser,
            http2=listener.http2,
            tls=self._tls(listener),
        )

    def _app(self, listener: Listener) -> ASGIApp:
        settings = self._gateway.settings
        if listener.role == "status":
            given = settings.status
            key = given.diagnostics_api_key if given and given.allow_insecure_remote else None
            return StatusApp(
                self._gateway.status,
                is_loopback=is_loopback(listener.address),
                diagnostics_key=key,
                health=self._health,
            )
        if listener.role == "metrics":
            return MetricsApp(self._gateway.runtime, self._gateway.status)
        if listener.role == "admin":
            return self._admin()
        return self._gateway

    def _health(self) -> list[NodeStatus]:
        upstreams = self._gateway.runtime.snapshot.upstreams.values()
        return [node for upstream in upstreams for node in upstream.health()]

    def _admin(self) -> ASGIApp:
        gateway, settings = self._gateway, self._gateway.settings
        given = settings.admin
        # The runtime keeps it, and closes it when the gateway stops.
        store = gateway.runtime.keep("serving.admin", lambda: open_store(settings))
        if given is None or store is None:
            raise ConfigError("pingsix: admin: the Admin API needs etcd, or store: sqlite:///FILE")
        source = gateway.opened.source
        in_force = source.reach if isinstance(source, StoreSource) else None
        return AdminAPI(
            store, gateway.registry, given, keyring=keyring_of(settings), in_force=in_force
        )

    def _granian(self, app: ASGIApp, sock: socket, listener: Listener) -> Host:
        try:
            from .granian_host import GranianHost
        except ImportError as error:
            raise StartupError(
                "granian is not installed: pip install 'pingsix-asgi[granian]'"
            ) from error
        return GranianHost(app, sock, listener)

    def _tls(self, listener: Listener) -> TLSListener | None:
        if not listener.is_tls:
            return None
        from .tls_listener import tls_listener  # costs start-up time that others need not spend

        return tls_listener(self._gateway, listener)
