"""Where resources live in a store, and how their values are read.

Keys are ``{prefix}/{kind}/{id}`` as APISIX and PingSIX write them; credentials lie below their
consumer and secrets below their manager.
"""

from __future__ import annotations

import json
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

    Refused: NaN and Infinity, and halves of surrogate pairs, which no UTF-8 text can hold.
    """
    try:
        document = _DECODER.decode(raw.decode("utf-8-sig"))
        if b"\\u" in raw:
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return document


def encode_json(document: JSON) -> bytes:
    """Write a document as compact UTF-8."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER: Final = json.JSONDecoder(strict=False, parse_constant=_refuse)
