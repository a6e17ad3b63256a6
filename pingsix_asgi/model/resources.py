"""Kinds of resources, sets of raw documents, and what refers to what.

A document is never edited once it is in a set: whoever changes a resource puts a new document in.
That is how unchanged ones are known by identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from ..errors import ReferenceMissing, SchemaError
from ..types import JSON
from .base import Model, json_type, problems
from .consumer import Consumer, Credential
from .consumer_group import ConsumerGroup
from .fields import ID
from .global_rule import GlobalRule
from .plugin_config import PluginConfig
from .plugin_metadata import PluginMetadata
from .proto import Proto
from .route import Route
from .schema import shown_schema
from .secret import MANAGERS
from .service import Service
from .ssl import SSL
from .upstream import Upstream

Resources: TypeAlias = Mapping[str, Mapping[str, JSON]]
"""Raw documents by kind and id. A kind may be absent."""

MODELS: dict[str, type[Model]] = {
    "routes": Route,
    "services": Service,
    "upstreams": Upstream,
    "global_rules": GlobalRule,
    "plugin_configs": PluginConfig,
    "consumers": Consumer,
    "credentials": Credential,
    "consumer_groups": ConsumerGroup,
    "plugin_metadata": PluginMetadata,
    "ssls": SSL,
    "protos": Proto,
}
"""The model of each kind with one; secrets have one per manager."""

KINDS: tuple[str, ...] = (*MODELS, "secrets")
"""Kinds in the plural, as keys of Resources and in paths of the Admin API."""


class Reference(NamedTuple):
    """A field that names another resource by id."""

    path: str
    kind: str
    id: str


_FIELDS: dict[str, tuple[tuple[str, str], ...]] = {
    "routes": (
        ("service_id", "services"),
        ("upstream_id", "upstreams"),
        ("plugin_config_id", "plugin_configs"),
        ("upstream.tls.client_cert_id", "ssls"),
    ),
    "services": (("upstream_id", "upstreams"), ("upstream.tls.client_cert_id", "ssls")),
    "upstreams": (("tls.client_cert_id", "ssls"),),
    "consumers": (("group_id", "consumer_groups"),),
}
_LABELS = {
    "services": ("service", "service id"),
    "upstreams": ("upstream", "upstream id"),
    "plugin_configs": ("plugin config", "plugin config id"),
    "consumer_groups": ("consumer group", "consumer group id"),
    "consumers": ("consumer", "consumer name"),
    "ssls": ("ssl", "ssl id"),
}


def model_of(kind: str, id: str) -> type[Model]:
    """Return the model for a resource. Raises SchemaError for an unknown kind or manager."""
    if kind == "secrets":
        manager = id.partition("/")[0]
        if manager not in MANAGERS:
            text = f"secret manager {manager} is not supported, only {', '.join(MANAGERS)} is"
            raise SchemaError(text, kind=kind, id=id)
        return MANAGERS[manager]
    if kind not in MODELS:
        raise SchemaError("unknown kind of resource", kind=kind, id=id)
    return MODELS[kind]


def parse_document(kind: str, id: str, document: JSON) -> Model | list[SchemaError]:
    """Validate one document against its model: the model, or every problem found.

    Plugin confs, expressions and path patterns are judged where they are compiled: see
    ``snapshot.check.check_document`` for the whole.
    """
    if not isinstance(document, dict):
        text = f"wrong type: expected object, got {json_type(document)}"
        return [SchemaError(text, kind=kind, id=id)]
    try:
        model = model_of(kind, id)
    except SchemaError as error:
        return [error]
    found = problems(model, document, kind=kind, id=id)
    if isinstance(found, list):
        return found
    return _id_problems(kind, id, found) or found


def _id_problems(kind: str, id: str, model: Model) -> list[SchemaError]:
    """Judge the id itself, and that the document does not claim another."""
    if kind == "consumers":
        named = getattr(model, "username", id)
        return [] if named == id else [SchemaError("wrong username", kind=kind, id=id)]
    if kind in ("plugin_metadata", "secrets", "credentials"):
        return []
    checked = problems(_Identified, {"id": id}, kind=kind, id=id)
    return checked if isinstance(checked, list) else []


class _Identified(Model):
    """Only the id, for judging the one in a key."""

    id: ID


def json_schema(kind: str, id: str = "") -> JSON:
    """Return the JSON Schema of a kind; for secrets ``id`` is the manager. Raises SchemaError."""
    return shown_schema(model_of(kind, id))


def references(kind: str, id: str, document: JSON) -> list[Reference]:
    """Return what a document names: its ``…_id`` fields, and upstreams in traffic-split confs.

    Works on documents of any shape, valid or not.
    """
    if not isinstance(document, dict):
        return []
    found = [
        Reference(field, target, str(id_there))
        for field, target in _FIELDS.get(kind, ())
        if _is_id(id_there := _at(document, field))
    ]
    if kind == "credentials":
        found.append(Reference("", "consumers", id.partition("/")[0]))
    plugins = document.get("plugins")
    if isinstance(plugins, dict) and "traffic-split" in plugins:
        found += [
            Reference(f"plugins.traffic-split.{path}", "upstreams", target)
            for path, target in _upstream_ids(plugins["traffic-split"], "")
        ]
    return found


def check_references(
    resources: Resources, kind: str, id: str, document: JSON, *, in_plugins: bool = False
) -> list[ReferenceMissing]:
    """Return an error for each resource that ``document`` names and ``resources`` does not hold.

    Those that plugins name may be missing until a request asks for them, as in APISIX; with
    ``in_plugins`` they are errors, too. A certificate must be one to show to upstreams.
    """
    return [
        ReferenceMissing(text, kind=kind, id=id, path=found.path)
        for found in references(kind, id, document)
        if (in_plugins or not found.path.startswith("plugins."))
        and (text := _lacking(found, resources.get(found.kind, {})))
    ]


def _lacking(found: Reference, held: Mapping[str, JSON]) -> str:
    what, by = _LABELS[found.kind]
    lead = f"failed to fetch {what} info by {by} [{found.id}], "
    if found.id not in held:
        return f"{lead}response code: 404"
    if found.kind == "ssls" and _at(held[found.id], "type") != "client":
        return f"{lead}wrong ssl type"
    return ""


def _at(document: JSON, path: str) -> Any:
    """Return what is at a dotted path, None where there is nothing."""
    node = document
    for name in path.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _upstream_ids(node: JSON, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            at = f"{path}.{key}" if path else str(key)
            if key == "upstream_id" and _is_id(value):
                yield at, str(value)
            else:
                yield from _upstream_ids(value, at)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _upstream_ids(value, f"{path}.{index}" if path else str(index))
