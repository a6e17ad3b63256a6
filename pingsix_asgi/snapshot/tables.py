"""Bring the parts of every kind up to date with new documents, compiling only what changed.

Documents are compared by identity first: a source that keeps unchanged documents as the same
objects pays for a pass over pointers and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import SchemaError
from ..model.resources import KINDS, Resources, check_references
from ..plugin.base import PluginConf
from ..types import JSON
from ..upstream.upstream import Upstream
from .certificate import certificate_id
from .compile import Compiler
from .diff import changed, gone
from .parts import Part
from .state import State

_FIRST = ("plugin_metadata", "ssls", "upstreams")
ORDER = (*_FIRST, *(kind for kind in KINDS if kind not in _FIRST))
"""Metadata and upstreams before plugins, which are made and set up with them; certificates before
the upstreams that show them."""
_REFERRERS = (
    "routes",
    "services",
    "upstreams",
    "consumers",
    "credentials",
    "global_rules",
    "plugin_configs",
)
"""Kinds whose documents can name others."""
_REFERRED = ("services", "upstreams", "plugin_configs", "consumer_groups", "consumers", "ssls")
_NOTHING: Mapping[str, JSON] = {}


class Tables:
    """The tables of one build: those of the state before, edited."""

    def __init__(self, before: State, resources: Resources) -> None:
        self.before = before
        self.resources = resources
        self.tables: dict[str, Mapping[str, Part]] = {}
        self.faults: dict[str, dict[str, tuple[SchemaError, ...]]] = {}
        self.unresolved: dict[str, dict[str, tuple[SchemaError, ...]]] = {}
        """Secrets that parts in force lack."""
        self.changed: dict[str, set[str]] = {kind: set() for kind in ORDER}
        """Ids whose part is new, another one, or gone."""
        self.touched: dict[str, list[str]] = {}
        """Ids whose document is new or another one."""
        self.compiled: list[str] = []

    def __getitem__(self, kind: str) -> Mapping[str, Part]:
        return self.tables[kind]

    def named_upstream(self, id: str) -> Upstream | None:
        """Return the upstream in force under ``id``."""
        part = self.tables["upstreams"].get(id)
        return part.upstream if part is not None else None

    def metadata(self) -> dict[str, PluginConf | None]:
        """Return the plugin metadata in force."""
        return {name: part.metadata for name, part in self.tables["plugin_metadata"].items()}

    def update(self, kind: str, compiler: Compiler) -> Iterator[None]:
        """Compile what changed of one kind; stops after each document."""
        documents = self.resources.get(kind) or _NOTHING
        table_before = self.before.table(kind)
        documents_before = self.before.documents.get(kind) or _NOTHING
        self.touched[kind] = changed(documents_before, documents)
        retried = [id for id in self.before.faults.get(kind, ()) if id in documents]
        stale = self._stale(kind)
        again = dict.fromkeys([*self.touched[kind], *retried, *stale])
        lost = gone(documents_before, documents) & table_before.keys()
        self.faults[kind] = {}
        before = self.before.unresolved.get(kind, {})
        self.unresolved[kind] = {id: lacks for id, lacks in before.items() if id not in lost}
        if not again and not lost:
            self.tables[kind] = table_before
            return
        table = dict(table_before)
        for id in lost:
            del table[id]
        self.changed[kind].update(lost)
        for id in again:
            if id in documents:
                self._compile(kind, id, documents[id], table, compiler)
                if id in stale and id in self.faults[kind]:
                    # what the old part was set up with is gone, so it is made again as it was
                    self._compile(kind, id, table[id].document, table, compiler, is_retry=True)
                yield
        self.tables[kind] = table

    def missing(self) -> dict[str, Mapping[str, tuple[SchemaError, ...]]]:
        """Find references to what is not there, looking only where something may have changed."""
        lost = any(
            gone(self.before.documents.get(kind) or _NOTHING, self.resources.get(kind) or _NOTHING)
            for kind in _REFERRED
        )
        found: dict[str, Mapping[str, tuple[SchemaError, ...]]] = {}
        for kind in _REFERRERS:
            documents = self.resources.get(kind) or _NOTHING
            known = self.before.missing.get(kind, {})
            looked_at = (*self.touched[kind], *self.changed[kind], *known)
            ids = documents if lost else dict.fromkeys(looked_at)
            by_id = {
                id: tuple(errors)
                for id in ids
                if id in documents
                and (
                    errors := check_references(
                        self.resources, kind, id, documents[id], in_plugins=True
                    )
                )
            }
            if by_id:
                found[kind] = by_id
        return found

    def _stale(self, kind: str) -> frozenset[str]:
        """Return parts made with metadata, a named upstream or certificate that is another now."""
        metadata, upstreams = self.changed["plugin_metadata"], self.changed["upstreams"]
        ssls = self.changed["ssls"]
        if not metadata and not upstreams and not ssls:
            return frozenset()
        return frozenset(
            id
            for id, part in self.before.table(kind).items()
            if (ssls and certificate_id(part.model) in ssls)
            or any(
                name in metadata or not upstreams.isdisjoint(entry.uses)
                for name, entry in part.plugins.entries.items()
            )
        )

    def _compile(
        self,
        kind: str,
        id: str,
        document: JSON,
        table: dict[str, Part],
        compiler: Compiler,
        *,
        is_retry: bool = False,
    ) -> None:
        """Put the new part into the table; of a faulty document, keep the part before it.

        Source: apisix/core/config_etcd.lua (a bad item keeps its last valid value).
        """
        made = compiler.compile(kind, id, document, table.get(id))
        if isinstance(made, list):
            if not is_retry:
                self.faults[kind][id] = tuple(made)
            return
        table[id] = made
        self.unresolved[kind].pop(id, None)
        if lacks := tuple(made.unresolved()):
            self.unresolved[kind][id] = lacks
        self.changed[kind].add(id)
        self.compiled.append(made.key)
