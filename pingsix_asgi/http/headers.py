"""Header lines as an editable list of byte pairs: order and repeats survive every edit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..types import RawHeaders


class Headers:
    """A view on a list of (lower-case name, value) pairs that copies the list on the first edit.

    The list given is never changed: it may belong to the server or to a shared reply. ``raw`` is
    the list to send on. All names passed in must be lower-case bytes.
    """

    __slots__ = ("_owned", "raw")

    def __init__(self, raw: RawHeaders) -> None:
        self.raw = raw
        self._owned = False

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the first line called ``name``, or None."""
        for key, value in self.raw:
            if key == name:
                return value
        return None

    def getlist(self, name: bytes) -> list[bytes]:
        """Return the values of all lines called ``name``."""
        return [value for key, value in self.raw if key == name]

    def combined(self, name: bytes) -> bytes | None:
        """Return all lines called ``name`` joined by ", " (RFC 9110 §5.3), or None."""
        values = [value for key, value in self.raw if key == name]
        return b", ".join(values) if values else None

    def set(self, name: bytes, value: bytes) -> None:
        """Replace every line called ``name`` by one, at the place of the first."""
        raw, replaced = [], False
        for pair in self.raw:
            if pair[0] != name:
                raw.append(pair)
            elif not replaced:
                raw.append((name, value))
                replaced = True
        if not replaced:
            raw.append((name, value))
        self.raw, self._owned = raw, True

    def setdefault(self, name: bytes, value: bytes) -> None:
        """Add the line unless one of that name with a non-empty value is there."""
        if not self.get(name):
            self.set(name, value)

    def append(self, name: bytes, value: bytes) -> None:
        """Add one more line."""
        if self._owned:
            self.raw.append((name, value))
        else:
            self.raw, self._owned = [*self.raw, (name, value)], True

    def remove(self, *names: bytes) -> None:
        """Drop every line with one of these names."""
        self.raw = [pair for pair in self.raw if pair[0] not in names]
        self._owned = True

    def replace(self, names: frozenset[bytes], lines: Iterable[tuple[bytes, bytes]]) -> None:
        """Drop every line with one of these names and add ``lines``; cheap when none is there."""
        raw = self.raw
        for name, _ in raw:
            if name in names:
                raw = [pair for pair in raw if pair[0] not in names]
                break
        self.raw, self._owned = [*raw, *lines], True

    def add_vary(self, field: bytes) -> None:
        """Name ``field`` in Vary unless it, or ``*``, is there already (RFC 9110 §12.5.5)."""
        present = {
            token.strip().lower() for line in self.getlist(b"vary") for token in line.split(b",")
        }
        if field.lower() not in present and b"*" not in present:
            self.append(b"vary", field)

    def __contains__(self, name: bytes) -> bool:
        return self.get(name) is not None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self.raw)

    def __repr__(self) -> str:
        return f"Headers({self.raw!r})"


def lower_case(fields: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Return header lines as a list with lower-case names; the list given if it is one."""
    if isinstance(fields, list):
        for name, _ in fields:
            if not name.islower():
                break
        else:
            return fields
    return [(name.lower(), value) for name, value in fields]
