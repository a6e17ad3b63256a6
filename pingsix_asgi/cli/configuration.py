"""Resources as files: the format of ``run -c``, read for the Admin API and written from it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ..config.document import read_document
from ..config.yaml_text import is_text, read_text
from ..errors import InvalidConfig, SchemaError, SourceError
from .admin_client import ORDER, Documents, bare

_SETTINGS = ("pingora", "pingsix")


def read_resources(path: str) -> tuple[Documents, set[str]]:
    """Return a file's documents, and the kinds it has a section for, empty ones included.

    Settings in it are passed over. Raises SourceError, InvalidConfig.
    """
    try:
        document = read_text(Path(path).read_text("utf-8-sig"), os.environ)
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {path}: {error}") from error
    except SchemaError as error:
        raise InvalidConfig([error]) from None
    if isinstance(document, dict):
        document = {name: part for name, part in document.items() if name not in _SETTINGS}
    resources = read_document(document).resources
    sections = {name for name, part in (document or {}).items() if part is not None}
    if sections & {"consumers", "credentials"}:
        sections |= {"consumers", "credentials"}
    found: Documents = {kind: {} for kind in ORDER if kind in sections}
    for kind, documents in resources.items():
        for id, one in documents.items():
            if kind == "credentials":
                consumer, _, name = id.partition("/")
                id = f"{consumer}/{name.removeprefix('credentials/')}"
            found[kind][id] = {**bare(one), "username": id} if kind == "consumers" else bare(one)
    return found, sections


def write_resources(documents: Documents) -> dict[str, list[Any]]:
    """Return documents as the sections of a file."""
    sections: dict[str, list[Any]] = {}
    for kind in ORDER:
        for id, document in documents.get(kind, {}).items():
            section = "consumers" if kind == "credentials" else kind
            if kind == "credentials":
                id = id.replace("/", "/credentials/", 1)
            head = {} if kind == "consumers" else {"id": id}
            sections.setdefault(section, []).append({**head, **document})
    return sections


def to_yaml(document: Any) -> str:
    """Write a document so that ``read_text`` reads the same again."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def to_json(document: Any) -> str:
    """Write a document as indented JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Lay rows out in columns; the first is the heading."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


class _Dumper(yaml.SafeDumper):
    """Quotes text that our reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = None
    if not is_text(value):
        style = '"'
    elif "\n" in value.rstrip("\n"):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
