"""Find the route of a request: by host, then by path, then by its conditions.

The order in which routes are tried is APISIX's (apisix/http/router/radixtree_host_uri.lua): the
exact host, wildcard hosts from long to short, routes without a host; in each of them the exact
path, then patterns from the longest literal start to the shortest. A route whose conditions fail
passes the request on. No step looks at all routes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..context import Context, Match
from ..http.addresses import AddressSet
from .draft import Draft
from .hosts import Hosts, parse_host
from .leaf import Leaf, Test, combine
from .pattern import parse_path
from .table import Table


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """A route as the router sees it."""

    id: str
    paths: tuple[str, ...]
    """Patterns as ``parse_path`` reads them; one is enough to match."""
    hosts: tuple[str, ...]
    """The route's hosts, else its service's; empty: any host."""
    methods: frozenset[str] | None
    """None or empty: any method."""
    remote_addrs: AddressSet | None
    """The client's address must be in it; None: any."""
    predicate: Test | None
    """The compiled ``vars``; it may read path parameters. None: always."""
    priority: int
    match: Match
    others: tuple[Match, ...] = ()
    """What the paths after the first one give; empty: ``match`` as well."""
    needs_body: bool = False
    """The predicate reads the request body, see ``expr.variables.needs_body``."""


@dataclass(frozen=True, slots=True)
class _Filed:
    """An entry with its leaves, and the hosts they were filed under."""

    entry: RouteEntry
    leaves: tuple[Leaf, ...]
    hosts: tuple[str, ...]


class Router:
    """An immutable set of routes."""

    def __init__(self, entries: Iterable[RouteEntry] = ()) -> None:
        """File all entries; of two with one id the later counts.

        Raises ValueError for a bad path or host; the text names neither route nor field.
        """
        self._filed: dict[str, _Filed] = {}
        self._anywhere = Table()
        self._hosts: Hosts | None = None
        self._readers: Router | None = None
        """The routes whose predicates read the request body, without these predicates."""
        self.needs_body = False
        """Some predicate reads the request body: ask ``may_read_body`` before ``match``."""
        self._apply(entries, ())

    @property
    def entries(self) -> Mapping[str, RouteEntry]:
        """All entries by id."""
        return MappingProxyType({id: filed.entry for id, filed in self._filed.items()})

    def __len__(self) -> int:
        return len(self._filed)

    def may_read_body(self, ctx: Context) -> bool:
        """Tell whether a route reads the body of this request to decide: it has to be there then.

        Host, path, method and the client's address say whether a route is asked at all.
        """
        found = self._readers is not None and self._readers.match(ctx) is not None
        ctx.params = None
        return found

    def updated(
        self, *, added: Iterable[RouteEntry] = (), removed_ids: Iterable[str] = ()
    ) -> Router:
        """Return a router with the changes; an entry replaces the one with its id.

        This router stays as it is and the two share what did not change: the cost is that of the
        changed routes, and of copying the dicts they are filed in. Ids not present are ignored.
        Raises ValueError as the constructor does.
        """
        router = Router.__new__(Router)
        router._filed = self._filed
        router._anywhere = self._anywhere
        router._hosts = self._hosts
        router._readers = self._readers
        router._apply(added, removed_ids)
        return router

    def _apply(self, added: Iterable[RouteEntry], removed_ids: Iterable[str]) -> None:
        draft = Draft()
        readers: dict[str, RouteEntry] = {}
        no_readers: list[str] = []
        self._filed = draft.own(self._filed)
        self._anywhere = draft.own(self._anywhere)
        hosts = Hosts() if self._hosts is None else self._hosts
        self._hosts = hosts = draft.own(hosts)
        for id in removed_ids:
            self._remove(draft, hosts, id)
            no_readers.append(id)
        for entry in added:
            self._remove(draft, hosts, entry.id)
            self._add(draft, hosts, entry)
            no_readers.append(entry.id)
            readers.pop(entry.id, None)
            if entry.needs_body:
                readers[entry.id] = replace(entry, predicate=None, needs_body=False)
        if hosts.is_empty:
            self._hosts = None
        self.match: Callable[[Context], Match | None] = (
            self._anywhere.find if self._hosts is None else self._match_host_first
        )
        """Returns the match of the first route that accepts the request, or None.

        Sets ``ctx.params`` when the matched path has parameters.
        """
        self._update_readers(readers.values(), no_readers)

    def _update_readers(self, added: Collection[RouteEntry], removed_ids: Iterable[str]) -> None:
        if self._readers is not None:
            self._readers = self._readers.updated(added=added, removed_ids=removed_ids)
        elif added:
            self._readers = Router(added)
        if self._readers is not None and not len(self._readers):
            self._readers = None
        self.needs_body = self._readers is not None

    def _match_host_first(self, ctx: Context) -> Match | None:
        if self._hosts is not None:
            for table in self._hosts.tables(ctx.request):
                match = table.find(ctx)
                if match is not None:
                    return match
        return self._anywhere.find(ctx)

    def _add(self, draft: Draft, hosts: Hosts, entry: RouteEntry) -> None:
        test = combine(entry.remote_addrs, entry.predicate)
        leaves = []
        for index, text in enumerate(entry.paths):
            pattern = parse_path(text)
            order = (-entry.priority, pattern.rank, entry.id, index)
            match = entry.others[index - 1] if index and entry.others else entry.match
            leaves.append(Leaf(pattern, match, order, entry.methods or None, test))
        names = tuple(dict.fromkeys(parse_host(host) for host in entry.hosts))
        for leaf in leaves:
            if not names:
                self._anywhere.add(draft, leaf)
            for name in names:
                hosts.add(draft, name, leaf)
        self._filed[entry.id] = _Filed(entry, tuple(leaves), names)

    def _remove(self, draft: Draft, hosts: Hosts, id: str) -> None:
        filed = self._filed.pop(id, None)
        if filed is None:
            return
        for leaf in filed.leaves:
            if not filed.hosts:
                self._anywhere.remove(draft, leaf)
            for name in filed.hosts:
                hosts.remove(draft, name, leaf)
