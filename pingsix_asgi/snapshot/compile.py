"""Compile one document into its part, taking over the plugin instances that did not change."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from ..errors import ReferenceMissing, SchemaError
from ..model.base import Model, problems
from ..model.consumer import Consumer, Credential
from ..model.fields import PluginConfs
from ..model.fields import Timeout as TimeoutModel
from ..model.plugin_metadata import PluginMetadata
from ..model.resources import parse_document
from ..model.route import Route
from ..model.service import Service
from ..model.ssl import SSL
from ..model.upstream import Upstream as UpstreamModel
from ..plugin.base import Plugin, PluginConf
from ..plugin.layer import Faults, compile_step, find_plugin, judge_confs, parse_consumer_conf
from ..plugin.locked import locked
from ..plugin.registry import Registry
from ..secrets.references import Unresolved
from ..secrets.unresolved import MESSAGE, unresolved
from ..tls.contexts import check_client_pair, check_ssl
from ..types import JSON
from ..upstream.node import Timeouts
from ..upstream.upstream import Upstream
from .diff import is_same
from .host import Gateway, PluginHost
from .parts import NO_PLUGINS, NO_TESTS, Entry, Part, PluginSet, compile_tests, judge_tests

logger = logging.getLogger("pingsix_asgi.snapshot")

_OWN_METADATA_FIELDS = ("id", "create_time", "update_time")


class Compiler:
    """Compiles documents for one build.

    ``metadata`` is the plugin metadata in force by plugin name. Without a ``gateway`` nothing is
    reached: upstreams are not made and plugins not set up, which is enough to judge a document.
    """

    def __init__(
        self,
        registry: Registry,
        gateway: Gateway | None,
        metadata: Mapping[str, PluginConf | None] | None = None,
    ) -> None:
        self._registry = registry
        self._gateway = gateway
        self._metadata = metadata or {}

    def compile(
        self, kind: str, id: str, document: JSON, before: Part | None = None
    ) -> Part | list[SchemaError]:
        """Return the part, or everything that is wrong with the document.

        ``before`` is what the resource was until now; its unchanged plugin instances are used on.
        """
        faults = Faults(kind, id)
        try:
            parsed = parse_document(kind, id, document)
            if isinstance(parsed, list):
                if isinstance(document, dict):
                    is_consumer = kind in ("consumers", "credentials")
                    judge_confs(self._registry, document.get("plugins"), is_consumer, faults)
                    if kind == "routes":
                        judge_tests(document, parsed, faults)
                return parsed + faults.errors
            part = self._part(f"{kind}/{id}", document, parsed, before, faults)
        except Exception as error:  # one document must never keep all others from being published
            logger.exception("%s/%s could not be compiled", kind, id)
            faults.add(f"{type(error).__name__}: {error}")
            return faults.errors
        return faults.errors or part

    def _part(
        self, key: str, document: JSON, model: Model, before: Part | None, faults: Faults
    ) -> Part:
        match model:
            case PluginMetadata():
                metadata = self._metadata_conf(faults.id, document, faults)
                return Part(key, document, model, metadata=metadata)
            case Consumer() | Credential():
                return self._consumer(key, document, model, before, faults)
            case SSL():
                self._check_ssl(model, faults)
            case UpstreamModel():
                return Part(key, document, model, upstream=self._upstream(model, key, "", faults))
        tests = compile_tests(model, faults) if isinstance(model, Route) else NO_TESTS
        upstream = None
        if isinstance(model, Route | Service) and model.upstream is not None:
            # one beside an id is never asked, so it is judged but not made
            made_by = self if model.upstream_id is None else Compiler(self._registry, None)
            upstream = made_by._upstream(model.upstream, key, "upstream", faults)
        confs: PluginConfs = getattr(model, "plugins", None) or {}
        timeout = timeouts(model.timeout) if isinstance(model, Route) else None
        plugins = self._plugins(key, confs, before, timeout, faults) if confs else NO_PLUGINS
        return Part(key, document, model, plugins, upstream, tests)

    def _consumer(
        self,
        key: str,
        document: JSON,
        model: Consumer | Credential,
        before: Part | None,
        faults: Faults,
    ) -> Part:
        auth: dict[str, PluginConf] = {}
        others: PluginConfs = {}
        for name, conf in (model.plugins or {}).items():
            plugin = find_plugin(self._registry, name, faults)
            if plugin is None:
                continue
            if plugin.kind == "auth":
                found = parse_consumer_conf(plugin, conf, faults)
                if found is not None:
                    auth[name] = found
            elif isinstance(model, Credential):
                text = "only supports auth type plugins in consumer credential"
                faults.add(text, f"plugins.{name}")
            else:
                others[name] = conf
        plugins = self._plugins(key, others, before, None, faults) if others else NO_PLUGINS
        return Part(key, document, model, plugins, auth=auth)

    def _metadata_conf(self, name: str, document: JSON, faults: Faults) -> PluginConf | None:
        plugin = find_plugin(self._registry, name, faults)
        if plugin is None or plugin.Metadata is None:
            return None
        options = {key: document[key] for key in document if key not in _OWN_METADATA_FIELDS}
        found = problems(plugin.Metadata, options, kind=faults.kind, id=faults.id)
        if isinstance(found, list):
            faults.errors.extend(found)
            return None
        return found

    def _check_ssl(self, model: SSL, faults: Faults) -> None:
        """Load certificates and keys; references are judged when they have been resolved."""
        if model.has_references:
            if self._gateway is not None:
                faults.errors.append(Unresolved(MESSAGE, kind=faults.kind, id=faults.id))
            return
        try:
            check_ssl(model)
        except SchemaError as error:
            faults.add(error.message, error.path)

    def _upstream(
        self, model: UpstreamModel, key: str, path: str, faults: Faults
    ) -> Upstream | None:
        try:
            check_client_pair(model)
            if self._gateway is None:
                return None
            return self._gateway.compile_upstream(model, key)
        except ReferenceMissing:  # told with all that is missing; requests get 502, as in APISIX
            return None
        except SchemaError as error:
            faults.add(error.message, ".".join(part for part in (path, error.path) if part))
            return None

    def _plugins(
        self,
        key: str,
        confs: PluginConfs,
        before: Part | None,
        timeout: Timeouts | None,
        faults: Faults,
    ) -> PluginSet:
        """Make what changed, and set it up once everything could be made."""
        known = before.plugins.entries if before is not None else {}
        entries: dict[str, Entry] = {}
        fresh: list[str] = []
        for name, conf in confs.items():
            plugin = find_plugin(self._registry, name, faults)
            if plugin is None:
                continue
            entry = known.get(name)
            if entry is None or not self._is_current(entry, plugin, conf, timeout):
                entry = self._entry(plugin, conf, faults)
                fresh.append(name)
            entries[name] = entry
        if self._gateway is not None and not faults.errors:
            for name in fresh:
                entries[name] = self._set_up(key, entries[name], timeout, self._gateway, faults)
        return PluginSet(entries, {name: entry.step for name, entry in entries.items()})

    def _entry(self, plugin: type[Plugin], conf: JSON, faults: Faults) -> Entry:
        """Make a plugin of a conf; one that lacks a secret is locked."""
        step = compile_step(plugin, conf, faults, self._registry)
        if step is None or self._gateway is None:
            return Entry(conf, plugin, step)
        lacks = tuple(unresolved(plugin, conf, self._registry))
        if lacks and not plugin.may_lack_secrets:
            step = replace(step, plugin=locked(plugin))
        return Entry(conf, plugin, step, lacks=lacks)

    def _is_current(
        self, entry: Entry, plugin: type[Plugin], conf: JSON, timeout: Timeouts | None
    ) -> bool:
        return (
            entry.plugin is plugin
            and is_same(entry.conf, conf)
            and entry.metadata is self._metadata.get(plugin.name)
            and entry.timeout == timeout
            and self._gateway is not None
            and all(self._gateway.named_upstream(id) is used for id, used in entry.uses.items())
        )

    def _set_up(
        self, key: str, entry: Entry, timeout: Timeouts | None, gateway: Gateway, faults: Faults
    ) -> Entry:
        metadata = self._metadata.get(entry.plugin.name)
        host = PluginHost(key, entry.plugin.name, gateway, metadata, timeout)
        if entry.step is not None:
            try:
                entry.step.plugin.setup(host)
            except SchemaError as error:
                faults.add_conf(entry.plugin.name, [error])
            except Exception as error:  # code of a third party: its faults are told like any other
                text = f"{type(error).__name__}: {error}"
                faults.add_conf(entry.plugin.name, [SchemaError(text)])
        return replace(
            entry, metadata=metadata, timeout=timeout, uses=host.uses, upstreams=host.upstreams
        )


def timeouts(model: TimeoutModel | None) -> Timeouts | None:
    """Return the timeouts of a model; None where the upstream's own hold."""
    return None if model is None else Timeouts(model.connect, model.send, model.read)
