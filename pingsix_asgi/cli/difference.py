"""What has to happen so that the documents of a store equal those of a file.

A server that encrypts secrets shows ``***``, and no server shows the private keys of ``ssls``. Such
a value cannot be compared: a key goes with its certificate, and other secrets are written again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..plugin.registry import Registry
from ..secrets.fields import REDACTED, redact
from ..types import JSON
from .admin_client import ORDER, Documents

_MISSING: Any = object()
_KEYS = {"key": "cert", "keys": "certs"}


@dataclass(frozen=True, slots=True)
class Change:
    """One document to create, to update (``"="``: only for its hidden secrets) or to delete."""

    sign: Literal["+", "~", "=", "-"]
    kind: str
    id: str
    wanted: dict[str, Any] | None = None
    before: dict[str, Any] | None = None

    def lines(self, registry: Registry) -> Iterator[str]:
        """Yield what to print: the resource, and each field that differs, secrets hidden."""
        if self.sign == "=":
            yield f"~ {self.kind}/{self.id} (has secrets the server does not show)"
            return
        yield f"{self.sign} {self.kind}/{self.id}"
        if self.sign != "~":
            return
        before = redact(self.kind, self.before, registry)
        wanted = redact(self.kind, self.wanted, registry)
        for path, _, _ in _differences(self.before, self.wanted, ()):
            yield f"    {'.'.join(path)}: {_at(before, path)} -> {_at(wanted, path)}"


def changes(current: Documents, wanted: Documents, *, rewrite: bool = False) -> list[Change]:
    """Return writes in the order of references, then deletions in the opposite one.

    Kinds that ``wanted`` has no entry for are left alone. ``rewrite``: write what is equal, too.
    """
    written: list[Change] = []
    deleted: list[Change] = []
    for kind in (kind for kind in ORDER if kind in wanted):
        there = current.get(kind, {})
        for id, document in wanted[kind].items():
            if id not in there:
                written.append(Change("+", kind, id, document))
                continue
            sign = _judge(kind, there[id], document)
            if sign is not None or rewrite:
                written.append(Change(sign or "~", kind, id, document, there[id]))
        deleted += [Change("-", kind, id) for id in there if id not in wanted[kind]]
    return written + deleted[::-1]


def _judge(kind: str, before: dict[str, Any], wanted: dict[str, Any]) -> Literal["~", "="] | None:
    found = list(_differences(before, wanted, ()))
    if kind == "ssls":
        found = [one for one in found if not _goes_with_certificate(one, before, wanted)]
    if not found:
        return None
    return "=" if all(old == REDACTED for _, old, _ in found) else "~"


def _goes_with_certificate(
    found: tuple[tuple[str, ...], Any, Any], before: Mapping[str, Any], wanted: Mapping[str, Any]
) -> bool:
    """Tell whether a difference is a key that is not shown, of the certificate that is there."""
    path, old, _ = found
    cert = _KEYS.get(path[0])
    return cert is not None and old in (REDACTED, _MISSING) and before.get(cert) == wanted.get(cert)


def _differences(
    before: JSON, wanted: JSON, at: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield path, old and new value of everything that differs, as deep as both have it."""
    if isinstance(before, dict) and isinstance(wanted, dict):
        for name in dict.fromkeys((*before, *wanted)):
            old, new = before.get(name, _MISSING), wanted.get(name, _MISSING)
            yield from _differences(old, new, (*at, str(name)))
    elif isinstance(before, list) and isinstance(wanted, list) and len(before) == len(wanted):
        for index, (old, new) in enumerate(zip(before, wanted, strict=True)):
            yield from _differences(old, new, (*at, str(index)))
    elif type(before) is not type(wanted) or before != wanted:
        yield at, before, wanted


def _at(document: JSON, path: tuple[str, ...]) -> str:
    for name in path:
        if isinstance(document, list):
            document = document[int(name)] if int(name) < len(document) else _MISSING
        else:
            document = document.get(name, _MISSING) if isinstance(document, dict) else _MISSING
    return "nothing" if document is _MISSING else json.dumps(document, ensure_ascii=False)
