"""Documents as APISIX shows them: with the defaults of fields that were left out.

Stored is what was sent; only answers are completed. An object of a resource that was left out stays
out, and so do options of plugins that APISIX does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from ...errors import ReferenceMissing
from ...model.resources import MODELS
from ...plugin.base import PluginConf
from ...plugin.registry import Registry
from ...types import JSON

_OF_CONSUMERS: Final = ("consumers", "credentials")
_OURS: Final = frozenset(
    (
        "decompression",
        "forwarded_header_error_policy",
        "key_claim_name",
        "keys",
        "max_req_body_size",
        "max_resp_body_size",
        "required_claims",
        "trusted_proxies",
        "use_forwarded_headers",
        "vary",
    )
)
"""Options of plugins that APISIX does not have, or has no default for."""
_OF_A_POLICY: Final = "redis_"
"""Options that APISIX's schemas have only for a ``policy`` other than ``local``."""


class _Shape(NamedTuple):
    """What to complete in an object: defaults of fields, and the models of what is in it."""

    defaults: tuple[tuple[str, Any], ...]
    objects: tuple[tuple[str, type[BaseModel]], ...]
    arrays: tuple[tuple[str, type[BaseModel]], ...]


def completed(kind: str, document: JSON, registry: Registry) -> JSON:
    """Return a document with defaults filled in; one that is no object as it is."""
    model = MODELS.get(kind)
    if model is None or kind == "plugin_metadata" or not isinstance(document, dict):
        return document
    found = _filled(model, document)
    plugins = found.get("plugins")
    if isinstance(plugins, dict):
        found["plugins"] = {
            name: _plugin(name, conf, registry, kind in _OF_CONSUMERS)
            for name, conf in plugins.items()
        }
    return found


def _plugin(name: str, conf: JSON, registry: Registry, of_consumer: bool) -> JSON:
    if not isinstance(conf, dict):
        return conf
    try:
        plugin = registry.find(name)
    except ReferenceMissing:
        return conf
    model = (plugin.ConsumerConf if of_consumer else None) or plugin.Conf
    found = _filled(model, conf)
    is_local = found.get("policy") == "local"
    return {
        key: value
        for key, value in found.items()
        if key in conf or not (key in _OURS or (is_local and key.startswith(_OF_A_POLICY)))
    }


def _filled(model: type[BaseModel], document: Mapping[str, JSON]) -> dict[str, Any]:
    shape = _shape(model)
    found: dict[str, Any] = dict(document)
    for key, value in shape.defaults:
        found.setdefault(key, value)
    for key, inner in shape.objects:
        if isinstance(value := document.get(key), dict):
            found[key] = _filled(inner, value)
    for key, inner in shape.arrays:
        if isinstance(value := document.get(key), list):
            found[key] = [_filled(inner, one) if isinstance(one, dict) else one for one in value]
    return found


@cache
def _shape(model: type[BaseModel]) -> _Shape:
    defaults: list[tuple[str, Any]] = []
    objects: list[tuple[str, type[BaseModel]]] = []
    arrays: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        default = None if field.is_required() else field.get_default()
        if isinstance(default, bool | int | float | str | PluginConf):
            defaults.append((key, _shown(default)))
        elif isinstance(default, tuple | list) and default:
            defaults.append((key, [_shown(one) for one in default]))
        for inner, is_array in _models_in(field.annotation, False):
            (arrays if is_array else objects).append((key, inner))
    return _Shape(tuple(defaults), tuple(objects), tuple(arrays))


def _shown(value: Any) -> JSON:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return value


def _models_in(annotation: Any, is_array: bool) -> Iterator[tuple[type[BaseModel], bool]]:
    """Yield the models an annotation names, and whether they are items of an array."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, is_array
        return
    origin = get_origin(annotation)
    if origin is dict or origin is Literal:
        return
    for part in get_args(annotation)[: 1 if origin is Annotated else None]:
        yield from _models_in(part, is_array or origin in (tuple, list))
