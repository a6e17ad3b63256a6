"""Validation endpoints, schemas, and the one check every write goes through."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ... import __version__
from ...errors import ReferenceMissing, SchemaError
from ...model.resources import json_schema
from ...model.schema import shown_schema
from ...plugin.base import Plugin, PluginConf
from ...plugin.meta import Meta
from ...plugin.registry import Registry
from ...snapshot.check import check_document
from ...types import JSON
from .exchange import Refusal, Request, refused
from .kinds import KINDS

Answer = tuple[int, JSON]

_SINGULAR: Final = {kind.label.replace(" ", "_"): kind.name for kind in KINDS.values()}
_OF_PLUGINS: Final = (
    "failed to check the configuration",
    "invalid plugin conf",
    "plugin [",
    "unknown plugin",
)
_COMPLETE: Final = (
    *_OF_PLUGINS,
    "failed to decrypt",
    "failed to fetch",
    "failed to handle",
    "failed to parse",
    "failed to validate the 'vars' expression",
    "failed to validate client_cert",
    "mismatched number of",
    "only one of",
    "only supports auth type",
    "missing key",
    "invalid port",
    "`upstream_host`",
    "warm_up_conf",
    "wrong username",
)
"""Starts of messages that APISIX gives without "invalid configuration"."""
_OF_ROUTES: Final = "work with route or service object"
_WITH_META: Final = "this is a mark for our injected plugin schema"
"""By which APISIX's dashboard knows that a schema has ``_meta``."""
_INVALID: Final = "invalid configuration: "
_NODES: Final = 'property "nodes" validation failed: '
"""What is wrong with a node is not told by APISIX, whose nodes have two forms."""
_SSL_PARTS: Final = (
    'property "cert" is required',
    'property "key" is required',
    'property "snis" is required',
    "only one of sni or snis",
)
"""What APISIX requires of ``ssls`` by a condition, whose text does not tell the part."""


def check_resource(kind: str, id: str, document: JSON, registry: Registry) -> str | None:
    """Return what is wrong with a document, in APISIX's words, or None.

    The check is the one the data plane compiles with.
    """
    found = check_document(kind, id, document, registry)
    return _text(kind, document, found[0]) if found else None


def _text(kind: str, document: JSON, error: SchemaError) -> str:
    message, path = error.message, error.path.split(".")
    plugins = document.get("plugins") if isinstance(document, dict) else None
    if path[0] == "plugins" and len(path) == 2 and isinstance(plugins, dict):
        conf = plugins.get(path[1])
        if conf is not None and not isinstance(conf, dict):
            message = f"invalid plugin conf {json.dumps(conf)} for plugin [{path[1]}]"
    if kind in ("consumers", "credentials") and message.startswith(_OF_PLUGINS):
        return f"invalid plugins configuration: {message}"
    if kind == "ssls" and message.startswith(_SSL_PARTS):
        is_client = isinstance(document, dict) and document.get("type") == "client"
        return f"{_INVALID}{'else' if is_client else 'then'} clause did not match"
    if message.startswith(_COMPLETE):
        return message
    before, nodes, _ = message.partition(_NODES)
    if nodes:
        message = f"{before}{nodes}object matches none of the required"
    return f"{_INVALID}{message}"


class Schemas:
    """What the gateway knows: plugins, schemas, and whether a document fits."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def plugins(self, segments: tuple[str, ...], request: Request) -> Answer:
        """Answer GET /plugins, /plugins/list and /plugins/{name}."""
        subsystem = request.query.get("subsystem", "http")
        if subsystem not in ("http", "stream"):
            raise refused(400, f"unsupported subsystem: {subsystem}")
        is_http = subsystem == "http"
        if segments == ("list",):
            return 200, self._registry.names() if is_http else []
        if request.query.get("all") == "true":
            names = self._registry.names() if is_http else []
            return 200, {name: _attributes(self._registry.find(name)) for name in names}
        if len(segments) != 1 or not is_http:
            raise refused(404, f"plugin not found in subsystem {subsystem}")
        return self._plugin_schema(segments[0], request)

    def schema(self, segments: tuple[str, ...], request: Request) -> Answer:
        """Answer GET /schema/{resource} and /schema/plugins/{name}."""
        match segments:
            case ["plugins", name]:
                return self._plugin_schema(name, request)
            case [name]:
                kind = KINDS.get(_SINGULAR.get(name, name))
                if kind is not None and kind.name != "secrets":
                    return 200, json_schema(kind.name)
            case ["secrets" | "secret", manager]:
                try:
                    return 200, json_schema("secrets", manager)
                except SchemaError:
                    pass
        raise refused(400, f"not found schema: {'/'.join(segments)}")

    def validate(self, segments: tuple[str, ...], request: Request) -> Answer:
        """Answer POST /schema/validate/{resource}: 200 without a body, or why not."""
        name = "/".join(segments)
        kind = KINDS.get(_SINGULAR.get(segments[0], segments[0]) if segments else "")
        if kind is None or len(segments) > 1 + (kind.name == "secrets"):
            raise refused(400, f"not found schema: {name}")
        if not request.has_body:
            raise refused(400, "missing configurations")
        id = _claimed_id(kind.name, request.body, "/".join(segments[1:]))
        if text := check_resource(kind.name, id, request.body, self._registry):
            raise refused(400, text.removeprefix(_INVALID))
        return 200, None

    def validate_all(self, request: Request) -> Answer:
        """Answer POST /configs/validate: every resource of a configuration, each problem listed."""
        if not request.has_body:
            raise refused(400, "invalid request body: empty request body")
        if not isinstance(request.body, dict):
            raise refused(400, "invalid request body: wrong type: expected object")
        errors = [
            {"resource_type": kind, "resource_id": id, "index": index, "error": text}
            for kind, resources in request.body.items()
            for id, index, text in self._problems(kind, resources)
        ]
        if errors:
            document = {"error_msg": "Configuration validation failed", "errors": errors}
            raise Refusal(400, document)
        return 200, {}

    def _problems(self, kind: str, resources: JSON) -> Iterator[tuple[str, int, str]]:
        if kind not in KINDS:
            yield "", 0, f"unknown resource type {kind}"
            return
        if not isinstance(resources, list):
            yield "", 0, "wrong type: expected array"
            return
        seen = set()
        for index, document in enumerate(resources):
            id = _claimed_id(kind, document, "")
            if id in seen:
                what = "username" if kind == "consumers" else "id"
                yield id, index, f"found duplicate {what} {id} in {kind}"
            if id != "0":
                seen.add(id)
            if text := check_resource(kind, id, document, self._registry):
                yield id, index, f"invalid {kind} at index {index}, err: {text}"

    def _plugin_schema(self, name: str, request: Request) -> Answer:
        try:
            plugin = self._registry.find(name)
        except ReferenceMissing:
            raise refused(404, "plugin not found in subsystem http") from None
        wanted = request.query.get("schema_type", "")
        found = _schemas(plugin).get(wanted if wanted in ("consumer", "metadata") else "main")
        if found is None:
            raise refused(400, "not found schema")
        return 200, found


def _claimed_id(kind: str, document: JSON, below: str) -> str:
    """Return the id a document is to be judged under; "0" for one without."""
    given: Any = None
    if isinstance(document, Mapping):
        given = document.get("username" if kind == "consumers" else "id")
    id = str(given) if isinstance(given, str | int) and not isinstance(given, bool) else "0"
    return f"{below}/{id}" if below and kind == "secrets" else id


def _schemas(plugin: type[Plugin]) -> dict[str, JSON]:
    main = _schema(plugin, plugin.Conf, _OF_ROUTES if plugin.kind == "auth" else "")
    properties = {**main["properties"], "_meta": shown_schema(Meta)}
    found: dict[str, JSON] = {"main": {**main, "$comment": _WITH_META, "properties": properties}}
    if plugin.ConsumerConf is not None:
        found["consumer"] = _schema(plugin, plugin.ConsumerConf, "work with consumer object")
    if plugin.Metadata is not None:
        found["metadata"] = _schema(plugin, plugin.Metadata)
    return found


def _schema(plugin: type[Plugin], model: type[PluginConf], title: str = "") -> dict[str, Any]:
    """Return the JSON Schema of a conf, with the names of its secrets."""
    schema = {"type": "object", "properties": {}, **shown_schema(model)}
    del schema["title"]
    secrets = [name for name in plugin.encrypted if name.split(".")[0] in schema["properties"]]
    if secrets:
        schema["encrypt_fields"] = secrets
    return {**schema, "title": title} if title else schema


def _attributes(plugin: type[Plugin]) -> dict[str, JSON]:
    schemas = _schemas(plugin)
    found: dict[str, JSON] = {
        "version": __version__,
        "priority": plugin.priority,
        "schema": schemas["main"],
    }
    if plugin.kind:
        found["type"] = plugin.kind
    if "consumer" in schemas:
        found["consumer_schema"] = schemas["consumer"]
    if "metadata" in schemas:
        found["metadata_schema"] = schemas["metadata"]
    return found
