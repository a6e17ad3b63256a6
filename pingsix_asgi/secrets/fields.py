"""Which fields of a resource are secret, and one walk over them for every purpose.

Encrypting, decrypting, redacting and restoring are the same walk with another function, so no
secret can be covered by one of them and forgotten by another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from ..errors import ReferenceMissing, SchemaError
from ..model.fields import is_reference
from ..plugin.base import Plugin, PluginFinder
from ..plugin.registry import Registry
from ..types import JSON

REDACTED = "***"
ENVELOPE = "$pingsix-enc:"
"""What every value sealed by a keyring begins with."""

Path: TypeAlias = tuple[str | int, ...]
Change: TypeAlias = Callable[[Path, str], str]

_KEYS = (("cert", "key"), ("certs", "keys"))
_UPSTREAM = (("tls", "client_key"),)
_OWN: dict[str, tuple[tuple[str, ...], ...]] = {
    "ssls": (("key",), ("keys",)),
    "upstreams": _UPSTREAM,
    "routes": (("upstream", "tls", "client_key"),),
    "services": (("upstream", "tls", "client_key"),),
    "secrets": (("token",), ("secret_access_key",), ("auth_config", "private_key")),
}


def change_secrets(kind: str, document: JSON, registry: Registry, change: Change) -> JSON:
    """Return a copy of the document with ``change(path, value)`` in place of each secret string.

    Documents of the wrong shape pass unchanged: judging them is the validation's work.
    """
    if not isinstance(document, dict):
        return document
    result = document
    for path in _OWN.get(kind, ()):
        result = _apply(result, path, (), change)
    plugins = result.get("plugins")
    if isinstance(plugins, dict):
        result = {**result, "plugins": _plugins(plugins, ("plugins",), registry, change)}
    return result


def encrypt(kind: str, document: JSON, registry: Registry, seal: Callable[[str], str]) -> JSON:
    """Seal every secret that is not a reference (``$env://``, ``$secret://``)."""

    def change(path: Path, value: str) -> str:
        return value if is_reference(value) else seal(value)

    return change_secrets(kind, document, registry, change)


def redact(kind: str, document: JSON, registry: Registry) -> JSON:
    """Replace every secret by ``***``; references stay readable."""

    def change(path: Path, value: str) -> str:
        return value if is_reference(value) else REDACTED

    return change_secrets(kind, document, registry, change)


def without_keys(kind: str, document: JSON) -> JSON:
    """Leave out the private keys of an ``ssls`` document, as APISIX does; references stay."""
    if kind != "ssls" or not isinstance(document, dict):
        return document
    return {
        name: value
        for name, value in document.items()
        if name not in ("key", "keys") or _are_references(value)
    }


def _are_references(value: JSON) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(isinstance(one, str) and is_reference(one) for one in values)


def restore(kind: str, document: JSON, stored: JSON, registry: Registry) -> JSON:
    """Put the stored secret back wherever the document has ``***`` at the same path.

    Private keys that are left out come back where the certificate is the same. This makes read,
    edit, write safe. Where nothing is stored ``***`` stays. Raises SchemaError for one in a list
    of another length than the stored one: nothing tells which of the secrets it stands for.
    """
    known: dict[Path, str] = {}

    def remember(path: Path, value: str) -> str:
        known[path] = value
        return value

    def change(path: Path, value: str) -> str:
        if value != REDACTED or not known:
            return value
        if _lengths(document, path) != _lengths(stored, path):
            raise _unknown(path, "it is in a list that has another length now")
        return known.get(path, value)

    change_secrets(kind, stored, registry, remember)
    restored = change_secrets(kind, document, registry, change)
    if kind == "ssls" and isinstance(restored, dict) and isinstance(stored, dict):
        for cert, key in _KEYS:
            if key not in restored and key in stored and restored.get(cert) == stored.get(cert):
                restored = {**restored, key: stored[key]}
    return restored


def check_restored(kind: str, document: JSON, registry: Registry) -> None:
    """Raise SchemaError when a secret is still ``***``, which stands for no stored one then."""

    def check(path: Path, value: str) -> str:
        if value == REDACTED:
            raise _unknown(path, "nothing is stored there")
        return value

    change_secrets(kind, document, registry, check)


def _unknown(path: Path, why: str) -> SchemaError:
    text = f"{REDACTED} stands for no stored secret: {why}; send the values"
    return SchemaError(text, path=".".join(map(str, path)))


def _lengths(document: JSON, path: Path) -> list[int]:
    """Return the lengths of the lists on the way, as far as the document goes."""
    found = []
    for name in path:
        if isinstance(document, list) and isinstance(name, int):
            found.append(len(document))
            document = document[name] if name < len(document) else None
        else:
            document = document.get(name) if isinstance(document, dict) else None
    return found


def change_conf(
    name: str, conf: JSON, registry: PluginFinder, change: Change, at: Path = ()
) -> JSON:
    """Return a copy of a plugin's conf with its secrets changed, and those of plugins inside it."""
    try:
        plugin: type[Plugin] = registry.find(name)
    except ReferenceMissing:
        return conf
    for dotted in plugin.encrypted:
        conf = _apply(conf, tuple(dotted.split(".")), at, change)
    for dotted in plugin.nested:
        conf = _inside(conf, tuple(dotted.split(".")), at, registry, change)
    return conf


def _plugins(
    confs: dict[str, JSON], at: Path, registry: PluginFinder, change: Change
) -> dict[str, JSON]:
    return {
        name: change_conf(name, conf, registry, change, (*at, name)) for name, conf in confs.items()
    }


def _inside(
    node: JSON, path: tuple[str, ...], at: Path, registry: PluginFinder, change: Change
) -> JSON:
    """Follow ``path`` as ``_apply`` does, to the confs of other plugins at its end."""
    match node:
        case [str(name), dict(conf), *rest] if not path:
            return [name, change_conf(name, conf, registry, change, (*at, 1)), *rest]
        case list():
            return [
                _inside(item, path, (*at, index), registry, change)
                for index, item in enumerate(node)
            ]
        case dict() if not path:
            return _plugins(node, at, registry, change)
        case dict() if path[0] in node:
            name = path[0]
            inner = _inside(node[name], path[1:], (*at, name), registry, change)
            return {**node, name: inner}
    return node


def _apply(node: JSON, path: tuple[str, ...], at: Path, change: Change) -> JSON:
    """Follow ``path``; lists on the way, and maps or lists at its end, are changed item by item."""
    if isinstance(node, list):
        return [_apply(item, path, (*at, index), change) for index, item in enumerate(node)]
    if not path:
        if isinstance(node, dict):
            return {key: _apply(item, (), (*at, key), change) for key, item in node.items()}
        return change(at, node) if isinstance(node, str) else node
    if not isinstance(node, dict) or path[0] not in node:
        return node
    name = path[0]
    return {**node, name: _apply(node[name], path[1:], (*at, name), change)}


def texts(node: JSON, at: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield every text in a document, with its place."""
    if isinstance(node, str):
        yield at, node
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from texts(value, (*at, name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from texts(value, (*at, index))
