"""Regex substitution as nginx and APISIX write it: ``$1`` and ``${1}`` in the replacement."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..errors import SchemaError
from .regex import translate

_REFERENCE = re.compile(r"\$\$|\$(\d+)|\$\{(\d+)\}")
_OPTIONS = frozenset("adDijJmosuUx")
_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}


class Substitution:
    """One pattern and its replacement.

    ``options`` are ngx.re flags: i, m, s and x mean what they mean there; j, o, d, u, … which
    steer the engine, are accepted and ignored. A reference to a group that the pattern does not
    have is empty. Raises ValueError for a pattern that does not compile, an unknown flag, or a "$"
    in the replacement that is none of ``$1``, ``${1}`` and ``$$``.
    """

    def __init__(self, pattern: str, replacement: str, options: str = "") -> None:
        flags = re.ASCII  # as PCRE without its UTF mode: \w is ASCII
        for option in options:
            if option not in _OPTIONS:
                raise ValueError(f'unknown flag "{option}" (flags "{options}")')
            flags |= _FLAGS.get(option, re.RegexFlag(0))
        try:
            self._pattern = re.compile(translate(pattern), flags)
        except re.error as error:
            raise ValueError(str(error)) from None
        self._replacement = _compile(replacement, self._pattern.groups)

    def match(self, text: str) -> re.Match[str] | None:
        """Return the first place where the pattern matches."""
        return self._pattern.search(text)

    def apply(self, found: re.Match[str]) -> str:
        """Return the text of ``found`` with the matched part replaced, the rest kept."""
        text = found.string
        return text[: found.start()] + self._replacement(found) + text[found.end() :]

    def once(self, text: str) -> str:
        """Replace the first match."""
        return self._pattern.sub(self._replacement, text, count=1)

    def every(self, text: str) -> str:
        """Replace all matches."""
        return self._pattern.sub(self._replacement, text)


def compile_pairs(
    texts: Sequence[str], path: str, fault: str = "invalid {}({}, {}): {}"
) -> list[Substitution]:
    """Compile a flat list of patterns and replacements. Raises SchemaError for ``path``.

    ``fault`` words a bad pair: the path, the pattern, the replacement, the reason.
    """
    if len(texts) % 2:
        raise SchemaError("the length of regex_uri should be an even number", path=path)
    substitutions = []
    for pattern, replacement in zip(texts[::2], texts[1::2], strict=True):
        try:
            substitutions.append(Substitution(pattern, replacement))
        except ValueError as error:
            text = fault.format(path, pattern, replacement, error)
            raise SchemaError(text, path=path) from None
    return substitutions


def first_match(
    substitutions: Sequence[Substitution], text: str
) -> tuple[re.Match[str] | None, str]:
    """Apply the first pair that matches; returns its match (None: no pair) and the new text."""
    for substitution in substitutions:
        found = substitution.match(text)
        if found is not None:
            return found, substitution.apply(found)
    return None, text


def _compile(replacement: str, groups: int) -> Callable[[re.Match[str]], str]:
    parts: list[str | int] = []
    position = 0
    for reference in _REFERENCE.finditer(replacement):
        parts.append(replacement[position : reference.start()])
        position = reference.end()
        number = reference[1] or reference[2]
        if number is None:
            parts.append("$")
        elif int(number) <= groups:
            parts.append(int(number))
    parts.append(replacement[position:])
    if "$" in _REFERENCE.sub(" ", replacement):
        raise ValueError("failed to compile the replacement template")

    def replace(found: re.Match[str]) -> str:
        return "".join(part if isinstance(part, str) else found[part] or "" for part in parts)

    return replace
