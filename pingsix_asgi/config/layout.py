"""Where resources live in a store, and how their values are read.

Keys are ``{prefix}/{kind}/{id}`` as APISIX and PingSIX write them; credentials lie below their
consumer and secrets below their manager.
"""

from __future__ import annotations

import json
import math
from typing import Final, NoReturn

from ..types import JSON

FLAT: Final = frozenset(
    (
        "routes",
        "services",
        "upstreams",
        "global_rules",
        "plugin_configs",
        "plugin_metadata",
        "consumers",
        "consumer_groups",
        "ssls",
        "protos",
    )
)
"""Kinds whose key is ``{kind}/{id}``."""
_NOT_OURS: Final = frozenset(("plugins", "stream_routes", "gen_id", "data_plane"))
"""What APISIX keeps beside its resources and this gateway has no use for."""
_PLACEHOLDER: Final = b"init_dir"
MAX_DEPTH: Final = 100


def locate(key: str, prefix: str) -> tuple[str, str] | None:
    """Return the kind and id a key stands for. Raises KeyError for a key that is none of ours.

    None: a key to pass over in silence, such as a directory or metadata (``.name``).
    """
    kind, *rest = key[len(prefix) + 1 :].split("/")
    if kind in _NOT_OURS or not rest or rest[-1] == "" or rest[-1].startswith("."):
        if (
            kind in FLAT
            or kind in _NOT_OURS
            or kind.startswith(".")
            or (rest and kind == "secrets")
        ):
            return None
        raise KeyError(key)
    match kind, rest:
        case _, [id] if kind in FLAT:
            return kind, id
        case "consumers", [consumer, "credentials", id]:
            return "credentials", f"{consumer}/{id}"
        case "secrets", [manager, id]:
            return "secrets", f"{manager}/{id}"
    raise KeyError(key)


def key_of(kind: str, id: str, prefix: str) -> str:
    """Return the key of a resource."""
    if kind == "credentials":
        consumer, _, credential = id.partition("/")
        return f"{prefix}/consumers/{consumer}/credentials/{credential}"
    return f"{prefix}/{kind}/{id}"


def is_placeholder(value: bytes) -> bool:
    """Tell whether a value only marks a directory, as APISIX does."""
    return value == _PLACEHOLDER


def decode_json(raw: bytes) -> JSON:
    """Read JSON as APISIX does, raw control characters in strings included. Raises ValueError.

    Refused: numbers beyond a double, halves of surrogate pairs, and more than ``MAX_DEPTH`` levels,
    so that whatever is read can be walked and written again.
    """
    try:
        document = _DECODER.decode(raw.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _check_depth(document)
    if b"\\u" in raw:
        encode_json(document)
    return document


def encode_json(document: JSON) -> bytes:
    """Write a document as compact UTF-8."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _check_depth(document: JSON) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    raise ValueError("nested too deeply")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"number {text[:20]} is too large")
    return value


_DECODER: Final = json.JSONDecoder(strict=False, parse_constant=_refuse, parse_float=_float)
