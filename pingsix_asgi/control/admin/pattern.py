"""Regular expressions of clients, matched in a time that grows with the text alone.

Python's ``re`` backtracks: a short pattern keeps it busy for hours, and the gateway with it. Here
all ways to match are followed at once, as bits of a number, for the part of the language that needs
no more: characters, ``.``, classes, one quantifier after each, ``^`` in front and ``$`` at the end.
"""

from __future__ import annotations

import re
from typing import Final

MAX_LENGTH: Final = 256
MAX_STATES: Final = 512
"""Characters a pattern may ask for, once its quantifiers are written out."""
_REMEMBERED: Final = 10_000

_ATOM: Final = re.compile(
    r"""(?P<atom> \\[dDwWsS] | \\[^a-zA-Z0-9] | \[\^?\]?(?:\\.|[^\]\\\[])*\] | [^\\\[\](){}|*+?^$] )
        (?P<quantifier> [*+?] | \{(?P<least>\d{1,3})(?P<comma>,(?P<most>\d{1,3})?)?\} )?""",
    re.VERBOSE | re.DOTALL,
)
_DOUBLED: Final = re.compile(r"--|&&|~~|\|\|")


class Pattern:
    """A compiled pattern. Raises ValueError for what is not allowed, saying what that is."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} characters")
        self._is_anchored = text.startswith("^")
        body = text[1:] if self._is_anchored else text
        self._ends = body.endswith("$") and not body.endswith("\\$")
        self._atoms: list[re.Pattern[str]] = []
        self._optional = self._repeated = 0
        self._parse(body[:-1] if self._ends else body)
        self._last = 1 << len(self._atoms)
        self._start = self._closed(1)
        self._steps: dict[tuple[int, str], int] = {}

    def is_in(self, text: str) -> bool:
        """Tell whether the pattern matches somewhere in ``text``."""
        states, steps = self._start, self._steps
        for character in text:
            if states & self._last and not self._ends:
                return True
            if not states:
                return False
            after = steps.get((states, character))
            if after is None:
                if len(steps) >= _REMEMBERED:
                    steps.clear()
                after = steps[states, character] = self._step(states, character)
            states = after
        return bool(states & self._last)

    def _parse(self, body: str) -> None:
        position = 0
        while position < len(body):
            found = _ATOM.match(body, position)
            if found is None:
                raise ValueError(
                    f"{body[position : position + 10]!r}: only characters, '.', classes, one "
                    "quantifier after each, '^' in front and '$' at the end are allowed"
                )
            self._add(_compiled(found["atom"]), found)
            position = found.end()

    def _add(self, atom: re.Pattern[str], found: re.Match[str]) -> None:
        """Write out a quantifier: so many times, then optional or repeated ones."""
        match found["quantifier"]:
            case None:
                least, most = 1, 1
            case "?":
                least, most = 0, 1
            case "*" | "+" as sign:
                least, most = int(sign == "+"), -1
            case _:
                least = int(found["least"])
                most = int(found["most"] or -1) if found["comma"] else least
        if 0 <= most < least:
            raise ValueError(f"{found[0]!r}: the smaller number comes first")
        if len(self._atoms) + max(least, most) >= MAX_STATES:
            raise ValueError("its quantifiers ask for too much")
        further = 1 if most < 0 else most - least
        for number in range(least + further):
            state = 1 << len(self._atoms)
            self._atoms.append(atom)
            self._optional |= state if number >= least else 0
            self._repeated |= state if most < 0 and number >= least else 0

    def _step(self, states: int, character: str) -> int:
        moved = 0
        for index, atom in enumerate(self._atoms):
            if states >> index & 1 and atom.fullmatch(character):
                moved |= 1 << index
        after = (moved & ~self._repeated) << 1 | moved & self._repeated
        return self._closed(after if self._is_anchored else after | 1)

    def _closed(self, states: int) -> int:
        """Add the states that are reached by leaving out what is optional."""
        while (more := states | (states & self._optional) << 1) != states:
            states = more
        return states


def _compiled(atom: str) -> re.Pattern[str]:
    if atom.startswith("[") and _DOUBLED.search(atom):
        raise ValueError(f"{atom!r}: doubled signs in a class need a backslash")
    try:
        return re.compile(atom)
    except re.error as error:
        raise ValueError(f"{atom!r}: {error.msg}") from None
