"""YAML and JSON text to documents, with ``${{VAR}}`` replaced from the environment.

YAML is read by the rules of YAML 1.2 where the older ones surprise: ``no`` and ``on`` are text, as
are dates and ``12:30``. A key given twice is refused. In a plain scalar the value of a variable may
become a number or a boolean; in a quoted one it stays text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import yaml

from ..errors import SchemaError, SourceError
from ..types import JSON

_VARIABLE = re.compile(r"\$\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?::=(.*?))?\s*\}\}")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, JSON] = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "null": None,
    "Null": None,
    "NULL": None,
    "~": None,
    "": None,
}
_QUOTED = ("'", '"', "|", ">")
_TEXT, _MAP = "tag:yaml.org,2002:str", "tag:yaml.org,2002:map"
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it: ten times faster."""


def read_text(text: str, environ: Mapping[str, str]) -> JSON:
    """Read YAML (JSON is YAML too). Raises SourceError, or SchemaError for unset variables."""
    loader = _Loader(text)
    loader.environ = environ
    loader.unset = []
    try:
        node = loader.get_single_node()
        document: JSON = None if node is None else loader.construct_document(node)
        _let_go(node)
        if loader.unset:
            # a document with holes would be judged wrongly
            raise SchemaError(f"{_unset(*dict.fromkeys(loader.unset))} (nothing else was checked)")
        return document
    except yaml.YAMLError as error:
        raise SourceError(f"not valid YAML: {_on_one_line(error)}") from None
    finally:
        loader.dispose()


def _let_go(node: yaml.Node | None) -> None:
    """Free a large tree in pieces: in one it would hold up the event loop beside this thread."""
    for pair in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(pair[1], yaml.CollectionNode):
            while pair[1].value:
                pair[1].value.pop()


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Replace ``${{VAR}}`` and ``${{VAR:=default}}``. Raises SchemaError for an unset variable."""

    def value_of(found: re.Match[str]) -> str:
        value = environ.get(found[1], found[2])
        if value is None:
            raise SchemaError(_unset(found[1]))
        return value

    return _VARIABLE.sub(value_of, text)


def _unset(*names: str) -> str:
    return f"can't find environment variable{'s' * (len(names) > 1)} {', '.join(names)}"


def is_text(scalar: str) -> bool:
    """Tell whether a scalar without quotes would be read as text."""
    return isinstance(_plain(scalar), str)


class _Loader(_BASE):  # type: ignore[misc]  # the base is chosen at run time
    """A safe loader with the rules above."""

    environ: Mapping[str, str]
    unset: list[str]
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def construct_text(self, node: yaml.ScalarNode) -> JSON:
        value: str = node.value
        if "${{" in value:
            value = self._substitute(value)
        return value if node.style in _QUOTED else _plain(value)

    def construct_map(self, node: yaml.MappingNode) -> dict[str, JSON]:
        result: dict[str, JSON] = {}
        merged: dict[str, JSON] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key == "<<" and key_node.style not in _QUOTED:
                merged = {**self._merge(value_node), **merged}
                continue
            if key in result:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            result[key] = self.construct_object(value_node, deep=True)
        return {**merged, **result}

    def _merge(self, node: yaml.Node) -> dict[str, JSON]:
        """Read the value of ``<<``: a mapping, or several of which the first is strongest."""
        value = self.construct_object(node, deep=True)
        merged: dict[str, JSON] = {}
        for part in reversed(value) if isinstance(value, list) else [value]:
            if not isinstance(part, dict):
                raise yaml.constructor.ConstructorError(
                    None, None, "expected a mapping after <<", node.start_mark
                )
            merged.update(part)
        return merged

    def _key(self, node: yaml.Node) -> str:
        """Read a key as text: ids and ports are often written as bare numbers."""
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(
                None, None, "expected text as a key", node.start_mark
            )
        return self._substitute(node.value) if "${{" in node.value else str(node.value)

    def _substitute(self, text: str) -> str:
        unset = [
            found[1]
            for found in _VARIABLE.finditer(text)
            if found[2] is None and found[1] not in self.environ
        ]
        self.unset += unset
        return text if unset else substitute(text, self.environ)


_Loader.add_constructor(_TEXT, _Loader.construct_text)
_Loader.add_constructor(_MAP, _Loader.construct_map)


def _plain(text: str) -> JSON:
    """Read a plain scalar by YAML 1.2's core schema, decimal numbers only."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text


def _on_one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem
