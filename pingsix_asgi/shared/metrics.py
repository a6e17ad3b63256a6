"""The gateway's metrics: families with labels, counted in a sheet, written as Prometheus text."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import add
from typing import Final, Literal, Protocol, TypeVar

from .place import Place, shared_directory
from .sheet import FileSheet, MemorySheet, Name, Sheet

T = TypeVar("T")

BUCKETS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000)
"""Upper bounds of the latency buckets. Source: APISIX and PingSIX, the same."""
SUM_CELL: Final = len(BUCKETS_MS) + 1
"""Cells of a histogram: one per bucket, one for what is above all, then the sum."""
_KEY: Final = "shared.metrics"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without prefix, and the labels of its series."""

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram", "untyped"]
    labels: tuple[str, ...] = ()
    bounds: tuple[int, ...] = BUCKETS_MS
    """Upper bounds of a histogram's buckets."""

    @property
    def cells(self) -> int:
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


@dataclass(frozen=True, slots=True)
class Sample:
    """A number that is not counted here but known when somebody asks, e.g. from a store."""

    family: Family
    value: float
    labels: tuple[str, ...] = field(default=())


class Keeper(Protocol):
    """What keeps objects beyond snapshots: a plugin's Host, or the runtime."""

    def keep(self, key: Hashable, make: Callable[[], T]) -> T: ...


class Metrics:
    """All counted families of one gateway."""

    def __init__(self, sheet: Sheet, place: Place | None = None) -> None:
        self.sheet = sheet
        self.families: dict[str, Family] = {}
        self._place = place

    def series(self, family: Family, labels: tuple[str, ...]) -> int | None:
        """Return the first cell of the series with these labels; None when the sheet is full."""
        self.families.setdefault(family.name, family)
        return self.sheet.row((family.name, *labels), family.cells)

    def totals(self) -> dict[Name, list[float]]:
        """Return the sum over all workers of every series, by family name and label values."""
        totals: dict[Name, list[float]] = {}
        for name, numbers in self.sheet.rows():
            known = totals.get(name)
            totals[name] = numbers if known is None else list(map(add, known, numbers))
        return totals

    async def aclose(self) -> None:
        """Unmap the sheet and give the place back."""
        self.sheet.close()
        if self._place is not None:
            self._place.close()


def gateway_metrics(keeper: Keeper) -> Metrics:
    """Return the metrics of the gateway, shared by its workers if PINGSIX_SHARED_DIR is set."""
    return keeper.keep(_KEY, _make)


def _make() -> Metrics:
    directory = shared_directory()
    if directory is None:
        return Metrics(MemorySheet())
    place = Place(directory / "metrics")
    return Metrics(FileSheet(place, "sheet"), place)


def write_text(
    metrics: Metrics, families: Iterable[Family], samples: Iterable[Sample], prefix: str
) -> str:
    """Write everything in Prometheus's text format, version 0.0.4."""
    totals = metrics.totals()
    counted: dict[str, list[tuple[Name, list[float]]]] = {}
    for (name, *labels), numbers in totals.items():
        counted.setdefault(name, []).append((tuple(labels), numbers))
    known: dict[str, list[Sample]] = {}
    for sample in samples:
        known.setdefault(sample.family.name, []).append(sample)
    all_families = {family.name: family for family in (*families, *metrics.families.values())}
    for group in known.values():
        all_families[group[0].family.name] = group[0].family
    lines: list[str] = []
    for family in all_families.values():
        rows = counted.get(family.name, [])
        rows += [(sample.labels, [sample.value]) for sample in known.get(family.name, [])]
        if rows:
            lines += _family_lines(family, rows, prefix + family.name)
    return "\n".join(lines) + "\n" if lines else ""


def _family_lines(family: Family, rows: list[tuple[Name, list[float]]], name: str) -> Iterator[str]:
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} {family.kind}"
    for values, numbers in sorted(rows):
        labels = dict(zip(family.labels, values, strict=True))
        if family.kind == "histogram":
            yield from _histogram_lines(name, labels, numbers, family.bounds)
        else:
            yield f"{name}{_labels(labels)} {_number(numbers[0])}"


def _histogram_lines(
    name: str, labels: Mapping[str, str], numbers: list[float], bounds: tuple[int, ...]
) -> Iterator[str]:
    count = 0.0
    for bound, number in zip([*map(str, bounds), "+Inf"], numbers, strict=False):
        count += number
        yield f"{name}_bucket{_labels({**labels, 'le': bound})} {_number(count)}"
    yield f"{name}_sum{_labels(labels)} {_number(numbers[-1])}"
    yield f"{name}_count{_labels(labels)} {_number(count)}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    text = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return text.encode("utf-8", "replace").decode()


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
