"""What a build leaves for the next one, so that only what changed is compiled again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import SchemaError
from ..model.resources import Resources
from ..plugin.plan import Layer
from .parts import Part

Table = Mapping[str, Part]
NO_PARTS: Table = {}


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The parts in force, and the documents they were asked to come from."""

    documents: Resources = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    """Parts in force by kind and id; of a faulty document, the part before it."""
    faults: Mapping[str, Mapping[str, tuple[SchemaError, ...]]] = field(default_factory=dict)
    """What is wrong with documents, by kind and id; they are tried again in each build."""
    missing: Mapping[str, Mapping[str, tuple[SchemaError, ...]]] = field(default_factory=dict)
    """References to what is not there, by kind and id of who refers."""
    unresolved: Mapping[str, Mapping[str, tuple[SchemaError, ...]]] = field(default_factory=dict)
    """Secrets that plugins in force lack, by kind and id."""
    global_layer: Layer = field(default_factory=dict)
    global_clashes: tuple[SchemaError, ...] = ()
    """Plugins that several global rules name."""
    consumer_clashes: tuple[SchemaError, ...] = ()
    """Credentials that several consumers have, or that cannot be used."""

    def table(self, kind: str) -> Table:
        """Return the parts of a kind."""
        return self.tables.get(kind, NO_PARTS)

    def errors(self) -> Iterator[SchemaError]:
        """Yield everything that is wrong, document by document."""
        for by_kind in (self.faults, self.missing, self.unresolved):
            for by_id in by_kind.values():
                for errors in by_id.values():
                    yield from errors
        yield from self.global_clashes
        yield from self.consumer_clashes

    def counts(self) -> dict[str, int]:
        """Return how many resources of each kind are in force."""
        return {kind: len(table) for kind, table in self.tables.items() if table}
