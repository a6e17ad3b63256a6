"""Which path tables a request's host leads to, most specific first.

A host is compared without regard to case. ``*`` at its start stands for any text, so
``*.example.com`` covers every depth of sub-domain and ``*`` every host. A host that names a port is
compared with the Host header as sent. Source: apisix/http/router/radixtree_host_uri.lua,
lua-resty-radixtree (ports).
"""

from __future__ import annotations

import re
from typing import Final, Self

from ..context import Request
from .draft import Draft
from .leaf import Leaf
from .lengths import Lengths
from .table import Table

_HOST = re.compile(r"\*|\*?[0-9A-Za-z\-._\[\]:]+")
_PORT = re.compile(r"(?:^|[^\[\]:]|\]):[0-9]+$")

_MAX_REMEMBERED: Final = 4096
"""Hosts whose tables are remembered; what a client sends must not fill the memory."""
_MAX_LENGTH: Final = 255
"""No host name is longer (RFC 1035 §2.3.4); longer ones are looked up, not remembered."""


def parse_host(text: str) -> str:
    """Return the canonical spelling of a route's host. Raises ValueError."""
    if not _HOST.fullmatch(text):
        raise ValueError(f'bad host "{text}"')
    return text.lower()


class Hosts:
    """The tables by host. Immutable once published, but for the memory of past look-ups."""

    def __init__(self) -> None:
        self.exact: dict[str, Table] = {}
        self.endings: dict[str, Table] = {}
        """By the text after the "*"."""
        self.lengths = Lengths()
        """Of those texts: one look-up each."""
        self.ports = 0
        """How many hosts name a port."""
        self._remembered: dict[str | tuple[str, str], tuple[Table, ...]] = {}

    def copy(self) -> Self:
        """Return a copy that shares the tables."""
        copy = type(self)()
        copy.exact, copy.endings = self.exact, self.endings
        copy.lengths, copy.ports = self.lengths, self.ports
        return copy

    @property
    def is_empty(self) -> bool:
        return not (self.exact or self.endings)

    def tables(self, request: Request) -> tuple[Table, ...]:
        """Return the tables to try, in order."""
        host = request.host
        authority = _authority(request) if self.ports else ""
        key = (authority, host) if authority else host
        tables = self._remembered.get(key)
        if tables is None:
            tables = self._look_up(host, authority)
            if len(host) + len(authority) <= _MAX_LENGTH:
                if len(self._remembered) >= _MAX_REMEMBERED:
                    self._remembered.clear()
                self._remembered[key] = tables
        return tables

    def _look_up(self, host: str, authority: str) -> tuple[Table, ...]:
        spellings = (authority, host) if authority else (host,)
        found = [self.exact[text] for text in spellings if text in self.exact]
        for length in self.lengths.descending:
            for text in spellings:
                ending = text[len(text) - length :] if length <= len(text) else None
                if ending not in self.endings or (text is not host and not _PORT.search(ending)):
                    continue
                found.append(self.endings[ending])
        return tuple(found)

    def add(self, draft: Draft, host: str, leaf: Leaf) -> None:
        """File a leaf under a host; ``self`` is owned by the draft."""
        table = self._side(host).get(host.removeprefix("*"))
        table = draft.new(Table()) if table is None else draft.own(table)
        table.add(draft, leaf)
        self._set(draft, host, table)

    def remove(self, draft: Draft, host: str, leaf: Leaf) -> None:
        """Take out a leaf that is filed under the host; ``self`` is owned by the draft."""
        table = draft.own(self._side(host)[host.removeprefix("*")])
        table.remove(draft, leaf)
        self._set(draft, host, None if table.is_empty else table)

    def _side(self, host: str) -> dict[str, Table]:
        return self.endings if host.startswith("*") else self.exact

    def _set(self, draft: Draft, host: str, table: Table | None) -> None:
        tables = draft.own(self._side(host))
        name = host.removeprefix("*")
        change = (table is not None) - (name in tables)
        if host == name:
            self.exact = tables
        else:
            self.endings = tables
            self.lengths = draft.own(self.lengths)
            self.lengths.count(len(name), change)
        if _PORT.search(name):
            self.ports += change
        if table is None:
            del tables[name]
        else:
            tables[name] = table


def _authority(request: Request) -> str:
    """Return the Host header in lower case if it names a port, else ""."""
    header = request.headers.get(b"host")
    authority = "" if header is None else header.decode("latin-1").lower()
    return authority if _PORT.search(authority) else ""
