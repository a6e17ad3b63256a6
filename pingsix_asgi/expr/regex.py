"""Regular expressions written for PCRE, compiled with ``re``.

Classes are ASCII, as in PCRE without UTF mode. Translated: ``(?<name>``, ``\\k<name>``, ``\\z``,
``\\Z``, ``\\h``, ``\\H``, ``\\R``, ``\\N``, ``\\e``, ``\\x{…}``, ``\\Q…\\E``, POSIX classes such as
``[:alpha:]``, and flags like ``(?i)`` in the middle. Not available, and refused: recursion and
subroutine calls, ``\\K``, ``\\G``, ``\\X``, ``\\p{…}``, ``(?|…)``, callouts and verbs.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache

_POSIX = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "ascii": r"\x00-\x7f",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9A-Fa-f",
}
_ESCAPES = {
    "z": r"\Z",
    "Z": r"(?=\n?\Z)",
    "h": r"[ \t]",
    "H": r"[^ \t]",
    "N": r"[^\n]",
    "R": r"(?:\r\n|[\n\v\f\r])",
    "e": r"\x1b",
}
_IN_CLASS = {"h": r" \t", "e": r"\x1b"}
_UNSUPPORTED = "KGXpPCg"
_PCRE2_WORDS = {
    "a class is not closed": "missing terminating ] for character class",
    "bad character range": "range out of order in character class",
    "bad escape (end": "\\ at end of pattern",
    "missing )": "missing closing parenthesis",
    "multiple repeat": "quantifier does not follow a repeatable item",
    "nothing to repeat": "quantifier does not follow a repeatable item",
    "unbalanced parenthesis": "unmatched closing parenthesis",
}
_TOKEN = re.compile(
    r"""\\Q(?P<quoted>.*?)(?:\\E|\Z)
    | \\x\{(?P<code>[0-9A-Fa-f]{1,6})\}
    | \\k[<{'](?P<backref>\w+)[>}']
    | \\(?P<escape>.)
    | \(\?'(?P<quoted_name>\w+)'
    | (?P<named>\(\?<(?=[A-Za-z_]))
    | \(\?(?P<flags>[imsx]+)\)
    | \(\?(?P<odd>[|R&C0-9+]|-[0-9])
    | (?P<verb>\(\*)
    | (?P<open>\()
    | (?P<close>\))
    | \[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]
    | .""",
    re.VERBOSE | re.DOTALL,
)
_CLASS_TOKEN = re.compile(
    r"\[:(?P<negated>\^?)(?P<posix>\w+):\]|\\x\{(?P<code>[0-9A-Fa-f]{1,6})\}|\\(?P<escape>.)|.",
    re.DOTALL,
)


@lru_cache(maxsize=1024)
def compile_regex(text: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """Compile a PCRE pattern. Raises ValueError saying what is wrong with it."""
    flags = re.ASCII | (re.IGNORECASE if ignore_case else 0)
    try:
        return re.compile(translate(text), flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"invalid regex '{text}': {error}") from None


def compile_rule(text: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """As ``compile_regex``, but the ValueError says it in the words of APISIX (nginx, PCRE2)."""
    try:
        return compile_regex(text, ignore_case=ignore_case)
    except ValueError as error:
        reason = str(error).removeprefix(f"invalid regex '{text}': ")
        for start, words in _PCRE2_WORDS.items():
            if reason.startswith(start):
                reason = words
        raise ValueError(f'pcre2_compile() failed: {reason} in "{text}"') from None


def translate(text: str) -> str:
    """Rewrite a PCRE pattern for ``re``. Raises ValueError for what ``re`` cannot do."""
    out: list[str] = []
    scopes: list[list[str]] = [[]]  # per open group: the flags set in its middle
    for token in _TOKEN.finditer(text):
        if token["open"] or token["named"] or token["quoted_name"]:
            scopes.append([])
        elif token["close"] and len(scopes) > 1:
            out.append(")" * len(scopes.pop()))
        elif token["flags"]:
            scopes[-1].append(f"(?{token['flags']}:")
            out.append(scopes[-1][-1])
            continue
        elif token[0] == "|" and scopes[-1]:  # the flags hold for the next branches too
            out.append(")" * len(scopes[-1]) + "|" + "".join(scopes[-1]))
            continue
        out.append(_translate_token(token, text))
    out.append(")" * len(scopes[0]))
    return "".join(out)


def _translate_token(token: re.Match[str], text: str) -> str:
    if token["quoted"] is not None:
        return re.escape(token["quoted"])
    if token["code"]:
        return _character(token["code"], text)
    if token["backref"]:
        name = token["backref"]
        return f"(?:\\{name})" if name.isdigit() else f"(?P={name})"
    if token["escape"]:
        return _escape(token["escape"], token[0], text)
    if token["quoted_name"]:
        return f"(?P<{token['quoted_name']}>"
    if token["named"]:
        return "(?P<"
    if token["odd"] or token["verb"]:
        raise ValueError(f"invalid regex '{text}': {token[0]} is not supported")
    if token[0] == "[":
        raise ValueError(f"invalid regex '{text}': a class is not closed")
    if token[0][0] == "[":
        return _translate_class(token[0], text)
    return token[0]


def _escape(letter: str, token: str, text: str) -> str:
    if letter in _UNSUPPORTED:
        raise ValueError(f"invalid regex '{text}': {token} is not supported")
    return _ESCAPES.get(letter, token)


def _translate_class(text: str, whole: str) -> str:
    start = 2 if text[1] == "^" else 1
    inner = text[start:-1]
    out = [text[:start]]
    if inner.startswith("]"):
        out.append(r"\]")
        inner = inner[1:]
    for token in _CLASS_TOKEN.finditer(inner):
        if token["posix"]:
            if token["negated"] or token["posix"] not in _POSIX:
                raise ValueError(f"invalid regex '{whole}': {token[0]} is not supported")
            out.append(_POSIX[token["posix"]])
        elif token["code"]:
            out.append(_character(token["code"], whole))
        elif token["escape"] and token["escape"] in "pPHNR":
            raise ValueError(f"invalid regex '{whole}': {token[0]} is not supported in a class")
        elif token["escape"]:
            out.append(_IN_CLASS.get(token["escape"], token[0]))
        elif token[0] == "-" and out[-1] == "-":
            raise ValueError(f"invalid regex '{whole}': escape the \"-\" in a class")
        elif token[0] in "[&~|":
            out.append("\\" + token[0])  # ``re`` warns that these may get a meaning
        else:
            out.append(token[0])
    return "".join(out) + "]"


def _character(code: str, text: str) -> str:
    number = int(code, 16)
    if number > sys.maxunicode:
        raise ValueError(f"invalid regex '{text}': there is no character {code}")
    return rf"\U{number:08x}"
