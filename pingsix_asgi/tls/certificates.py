"""The certificate for a server name.

Exact names win over wildcards, longer wildcards over shorter ones; ``*.example.com`` matches one
label, ``*`` everything. Source: apisix/ssl/router/radixtree_sni.lua.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from cachetools import LRUCache

from ..model.ssl import SSL
from .contexts import locked_context, server_context, skip_patterns

_SESSIONS = 1024
"""Client chains remembered per resource; a session that is forgotten counts as not verified."""


@dataclass(slots=True, eq=False)
class Certificate:
    """One resource, ready for handshakes."""

    resource: SSL
    alpn: Sequence[str]
    skips: tuple[re.Pattern[str], ...] = ()
    """Paths for which no client certificate is needed."""
    chains: MutableMapping[bytes, tuple[str, ...]] = field(
        default_factory=lambda: LRUCache(_SESSIONS)
    )
    """How clients were verified, by TLS session: OpenSSL forgets it when one is resumed."""

    _context: ssl.SSLContext | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """The context of its handshakes, made for the first one: a thousand at once take seconds.

        That of a locked resource refuses them.
        """
        if self._context is None:
            make = locked_context if self.resource.is_locked else server_context
            self._context = make(self.resource, self.alpn)
        return self._context

    @property
    def verifies_clients(self) -> bool:
        """Whether clients are asked for a certificate."""
        return self.resource.client is not None

    def demands_client(self, path: str) -> bool:
        """Tell whether a request for ``path`` must come with a client certificate."""
        if self.resource.client is None:
            return False
        return not any(pattern.search(path) for pattern in self.skips)

    def trusts(self, chain: Sequence[str], judged_by: Certificate | None) -> bool:
        """Tell whether a client's chain, verified in a handshake under ``judged_by``, is good here.

        It is when the same CA was asked for and no more intermediates are in it than ``depth``
        allows. ``chain`` goes from the client to the CA; empty: the client showed nothing.
        """
        mine = self.resource.client
        other = judged_by.resource.client if judged_by is not None else None
        if mine is None or other is None or mine.ca != other.ca or not chain:
            return False
        return len(chain) - 2 <= mine.depth


class Certificates:
    """The certificates of one configuration; contexts of unchanged resources are used on.

    Unless locked, ``resources`` must have passed ``check_ssl``, as the configuration's build does.
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
                made = Certificate(resource, alpn, skip_patterns(resource))
            self._by_id[id] = made
            for name in resource.names:
                table = self._wild if name.startswith("*") else self._exact
                table.setdefault(name.lower(), made)
        self.verify_clients = any(made.verifies_clients for made in self._by_id.values())
        """Some resource verifies client certificates."""

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
