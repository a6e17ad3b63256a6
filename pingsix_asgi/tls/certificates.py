"""Choose the certificate of a handshake by the server name the client asks for.

Exact names win over wildcards, longer wildcards over shorter ones; ``*.example.com`` matches one
label, ``*`` everything. Source: apisix/ssl/router/radixtree_sni.lua.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..model.ssl import SSL
from .contexts import base_context, load_pair, server_context


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """One resource, ready for handshakes."""

    resource: SSL
    context: ssl.SSLContext
    skips: tuple[re.Pattern[str], ...] = ()
    """Paths for which no client certificate is needed."""

    def allows(self, version: str | None) -> bool:
        """Tell whether ``ssl_protocols`` allows a finished handshake ("TLSv1.3").

        OpenSSL agrees on the version before it knows the server name, and does not tell it while
        the certificate is chosen, so this is asked when the handshake is over.
        """
        allowed = self.resource.ssl_protocols
        return allowed is None or version in allowed

    def demands_client(self, path: str) -> bool:
        """Tell whether a request for ``path`` must come with a client certificate."""
        if self.resource.client is None:
            return False
        return not any(pattern.search(path) for pattern in self.skips)


class Certificates:
    """The certificates of one configuration; contexts of unchanged resources are used on.

    ``resources`` must have passed ``server_context`` before, as the configuration's build does.
    """

    def __init__(
        self,
        resources: Mapping[str, SSL],
        alpn: Sequence[str],
        before: Certificates | None = None,
    ) -> None:
        known = before._by_id if before is not None else {}
        self._by_id: dict[str, Certificate] = {}
        self._exact: dict[str, Certificate] = {}
        self._wild: dict[str, Certificate] = {}
        for id, resource in sorted(resources.items()):
            if resource.type != "server":
                continue
            made = known.get(id)
            if made is None or made.resource is not resource:
                made = _certificate(resource, alpn)
            self._by_id[id] = made
            for name in resource.names:
                table = self._wild if name.startswith("*") else self._exact
                table.setdefault(name.lower(), made)

    def find(self, server_name: str | None) -> Certificate | None:
        """Return the certificate for a server name, None when nothing matches."""
        name = (server_name or "").lower()
        if not name:
            return self._wild.get("*")
        found = self._exact.get(name)
        if found is None:
            _, dot, parent = name.partition(".")
            found = self._wild.get(f"*.{parent}") if dot else None
        return found or self._wild.get("*")

    @property
    def wants_clients(self) -> bool:
        """Some resource verifies client certificates."""
        return any(made.resource.client is not None for made in self._by_id.values())


def listener_context(
    current: Callable[[], Certificates],
    alpn: Sequence[str],
    *,
    own: tuple[str, str] | None = None,
    fallback_sni: str | None = None,
) -> ssl.SSLContext:
    """Return the context of a listener; every handshake asks ``current()`` for its certificate.

    ``own`` is the listener's certificate and key (PEM text) for names nothing matches; without it
    such a handshake fails with "unrecognized name". ``fallback_sni`` is the name assumed when the
    client sends none. Raises SchemaError when ``own`` does not load.
    """
    context = base_context(alpn)
    # Whether a client is asked for its certificate is fixed before its server name is known.
    context.verify_mode = ssl.CERT_OPTIONAL if current().wants_clients else ssl.CERT_NONE
    if own is not None:
        load_pair(context, *own, "tls.cert_path")

    def choose(handshake: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        found = current().find(name or fallback_sni)
        if found is None:
            return None if own is not None else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        handshake.context = found.context
        return None

    context.sni_callback = choose
    return context


def _certificate(resource: SSL, alpn: Sequence[str]) -> Certificate:
    skips = (resource.client.skip_mtls_uri_regex or ()) if resource.client else ()
    return Certificate(resource, server_context(resource, alpn), tuple(map(re.compile, skips)))
