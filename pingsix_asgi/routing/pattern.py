"""Path patterns of routes: APISIX's and PingSIX's spelling, parsed to one form.

| written                | matches                                                                |
|------------------------|------------------------------------------------------------------------|
| ``/a/b``               | that path                                                              |
| ``/a*`` ``/a/*``       | that prefix, also with nothing after it                                |
| ``/:id`` ``/{id}``     | one non-empty segment; ``/img{id}.png``: with fixed text around it     |
| ``/*rest``             | anything to the end, "/" included, also nothing; captured as "rest"    |
| ``/{*rest}``           | the same, but at least one character                                   |
| ``*`` before the end   | anything, "/" included                                                 |
| ``{{`` ``}}``          | a literal brace                                                        |

A ":" is literal unless it starts a segment and a letter or "_" follows. What starts with neither
"/" nor "*" matches nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final, TypeAlias

logger = logging.getLogger("pingsix_asgi.routing")

MAX_LENGTH: Final = 4096
"""Longest pattern, in characters (apisix/schema_def.lua)."""
UNNAMED: Final = ":ext"
"""The name under which APISIX captures a bare "*"."""

_SPECIAL = re.compile(r"\{\{|\}\}|\{(\*?)([^{}*]+)\}|[{}*]")
_COLON_NAME = re.compile(r":[A-Za-z_]")


class Kind(Enum):
    """How a pattern is looked up."""

    EXACT = "the whole path is literal"
    PREFIX = "literal text, then anything"
    SEGMENTS = "whole segments, each literal or a parameter, then perhaps anything"
    REGEX = "everything else"


class Part(Enum):
    """What stands at one place of a pattern."""

    LITERAL = 0
    PARAM = 1
    ANYTHING = 2
    SOMETHING = 3
    """Anything, but at least one character."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a pattern: the text of a literal, else the name to capture it under ("": none)."""

    part: Part
    text: str

    @property
    def is_open(self) -> bool:
        return self.part in (Part.ANYTHING, Part.SOMETHING)


Segment: TypeAlias = list[Token]


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A parsed pattern."""

    text: str
    kind: Kind
    key: str
    """The literal text before the first wildcard; the whole path when EXACT."""
    steps: tuple[str | None, ...] = ()
    """SEGMENTS: the segments after ``key`` without the open end; None stands for a parameter."""
    params: tuple[tuple[int, str], ...] = ()
    """SEGMENTS: (index in ``steps``, name) of each parameter."""
    rest: Token | None = None
    """PREFIX and SEGMENTS: the open end, or None."""
    regex: re.Pattern[str] | None = None
    """REGEX: for the whole path."""
    names: tuple[str, ...] = ()
    """REGEX: names of its groups, in order."""
    rank: tuple[int, ...] = ()
    """Order among patterns of one key and priority, see ``_rank``; the lower goes first."""


def parse_path(text: str) -> PathPattern:
    """Parse a ``uri`` of a route. Raises ValueError saying what is wrong with it."""
    if not 1 <= len(text) <= MAX_LENGTH:
        raise ValueError(f"a path pattern has 1 to {MAX_LENGTH} characters")
    if text[0] not in "/*":  # accepted as by APISIX, where no request has such a path either
        logger.warning('path pattern "%s" matches nothing: it does not start with "/"', text)
        return PathPattern(text, Kind.EXACT, text)
    path = text if text[0] == "/" else "/" + text
    segments = [_parse_segment(segment, text) for segment in path.split("/")[1:]]
    _refuse_open_middle(segments, text)
    key, after = _split_key(segments)
    rank = _rank(text, after)
    if not after:
        return PathPattern(text, Kind.EXACT, key, rank=rank)
    if len(after) == 1 and len(after[0]) == 1 and after[0][0].is_open:
        end = after[0][0]
        if end.text == UNNAMED:  # a plain prefix captures nothing, so that it costs nothing
            end = Token(end.part, "")
        return PathPattern(text, Kind.PREFIX, key, rest=end, rank=rank)
    if key.endswith("/") and _is_whole_segments(after):
        rest = after[-1][0] if after[-1] and after[-1][0].is_open else None
        steps = after[:-1] if rest else after
        return PathPattern(
            text,
            Kind.SEGMENTS,
            key,
            steps=tuple(_literal_of(segment) for segment in steps),
            params=tuple((i, s[0].text) for i, s in enumerate(steps) if _literal_of(s) is None),
            rest=rest,
            rank=rank,
        )
    regex, names = _compile(segments)
    return PathPattern(text, Kind.REGEX, key, regex=regex, names=names, rank=rank)


def _parse_segment(segment: str, text: str) -> Segment:
    if _COLON_NAME.match(segment):
        return [Token(Part.PARAM, segment[1:])]
    if segment.startswith("*"):
        return [Token(Part.ANYTHING, segment[1:] or UNNAMED)]
    tokens: Segment = []
    literal, at = "", 0
    for found in _SPECIAL.finditer(segment):
        literal += segment[at : found.start()]
        at = found.end()
        if found[0] in ("{{", "}}"):
            literal += found[0][0]
            continue
        if found[0] in "{}":
            raise ValueError(
                f'path pattern "{text}": unmatched "{found[0]}" (double it to mean the character)'
            )
        if literal:
            tokens.append(Token(Part.LITERAL, literal))
            literal = ""
        tokens.append(_wildcard(found))
    literal += segment[at:]
    if literal:
        tokens.append(Token(Part.LITERAL, literal))
    _refuse_ambiguous(tokens, text)
    return tokens


def _wildcard(found: re.Match[str]) -> Token:
    if found[0] == "*":
        return Token(Part.ANYTHING, "")
    return Token(Part.SOMETHING if found[1] else Part.PARAM, found[2])


def _refuse_ambiguous(tokens: Segment, text: str) -> None:
    """Keep one way to read a path: two wildcards side by side could split it in many."""
    wild = [token for token in tokens if token.part is not Part.LITERAL]
    if len(wild) > 1 and any(token.text for token in wild):
        raise ValueError(f'path pattern "{text}": one parameter per segment is the limit')
    for left, right in pairwise(tokens):
        if left.is_open and right.is_open:
            raise ValueError(f'path pattern "{text}": "**" says no more than "*"')


def _refuse_open_middle(segments: list[Segment], text: str) -> None:
    tokens = [token for segment in segments for token in segment]
    last = segments[-1][-1:] if segments else []
    if any(token.part is Part.SOMETHING and [token] != last for token in tokens):
        raise ValueError(f'path pattern "{text}": "{{*name}}" is only allowed at the end')


def _split_key(segments: Sequence[Segment]) -> tuple[str, list[Segment]]:
    """Split into the literal text before the first wildcard, and what follows."""
    key = ""
    for index, segment in enumerate(segments):
        key += "/"
        if segment and segment[0].part is Part.LITERAL:
            key += segment[0].text
            segment = segment[1:]
        if segment:
            return key, [segment, *segments[index + 1 :]]
    return key, []


def _is_whole_segments(after: Sequence[Segment]) -> bool:
    return all(len(segment) <= 1 for segment in after) and not any(
        token.is_open for segment in after[:-1] for token in segment
    )


def _literal_of(segment: Segment) -> str | None:
    if not segment:
        return ""
    return segment[0].text if segment[0].part is Part.LITERAL else None


def _rank(text: str, after: Iterable[Segment]) -> tuple[int, ...]:
    """Return the order among patterns of one key: longer text first, as in APISIX.

    Names in braces do not count (PingSIX's order does not depend on names), and at equal length a
    literal segment goes before one with a parameter, and that before anything.
    """
    braces = (len(m[0]) - 1 for m in _SPECIAL.finditer(text))
    shape = (max((token.part.value for token in segment), default=0) for segment in after)
    return (sum(braces) - len(text), *shape)


def _compile(segments: Iterable[Segment]) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """Build a regex that takes time linear in the path for each "*".

    Every "*" but the last takes as little as it can and is never reconsidered: what follows it up
    to the next "*" has a fixed form, so taking more could not let more paths match.
    """
    names: list[str] = []
    blocks, stars = [""], []
    for segment in segments:
        blocks[-1] += "/"
        for token in segment:
            if token.part is Part.LITERAL:
                blocks[-1] += re.escape(token.text)
                continue
            if token.text:
                names.append(token.text)
            if token.is_open:
                amount = "+" if token.part is Part.SOMETHING else "*"
                stars.append(("" if token.text else "?:", amount))
                blocks.append("")
            else:
                blocks[-1] += "([^/]+)"
    source = blocks[0]
    for index, ((group, amount), block) in enumerate(zip(stars, blocks[1:], strict=True), 1):
        if index < len(stars):
            source += f"(?>({group}.{amount}?){block})"
        else:
            source += f"({group}.{amount}){block}"
    return re.compile(source, re.DOTALL), tuple(names)
