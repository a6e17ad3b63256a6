"""Put consumers, their credentials and their groups together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import SchemaError
from ..model.consumer import Consumer
from ..model.fields import is_reference
from ..plugin.base import PluginConf
from ..plugin.layer import merge
from ..plugin.registry import Registry
from ..secrets.references import Unresolved
from ..secrets.unresolved import MESSAGE
from .consumers import (
    EMPTY_INDEX,
    Attached,
    ConsumerIndex,
    ConsumerLayer,
    Found,
    attached,
    index_credentials,
)
from .parts import Part

_NO_LAYER = ConsumerLayer({})


class ConsumerLinker:
    """Links the consumers of one build and reports the credentials that clash."""

    def __init__(
        self,
        consumers: Mapping[str, Part],
        credentials: Mapping[str, Part],
        groups: Mapping[str, Part],
        registry: Registry,
    ) -> None:
        self._consumers = consumers
        self._credentials = credentials
        self._groups = groups
        self._registry = registry
        self.clashes: list[SchemaError] = []

    def link(self) -> ConsumerIndex:
        """Return the index of all consumers."""
        if not self._consumers:
            return EMPTY_INDEX
        group_layers = {id: ConsumerLayer(part.plugins.steps) for id, part in self._groups.items()}
        models: dict[str, tuple[Consumer, ConsumerLayer]] = {}
        for name, part in self._consumers.items():
            if isinstance(part.model, Consumer):
                models[name] = part.model, _layer(part, part.model, group_layers)
        by_name = {name: attached(*model) for name, model in models.items()}
        found = self._found(models, by_name)
        return ConsumerIndex(by_name, index_credentials(found, self._clash))

    def _found(
        self,
        models: Mapping[str, tuple[Consumer, ConsumerLayer]],
        by_name: Mapping[str, Attached],
    ) -> Iterator[tuple[str, str, Found]]:
        for name, part in self._consumers.items():
            for plugin, conf in part.auth.items():
                yield from self._credential(part, plugin, conf, by_name[name])
        for id, part in self._credentials.items():
            name, _, credential_id = id.partition("/")
            if name in models:
                consumer = attached(*models[name], credential_id)
                for plugin, conf in part.auth.items():
                    yield from self._credential(part, plugin, conf, consumer)

    def _credential(
        self, part: Part, plugin: str, conf: PluginConf, consumer: Attached
    ) -> Iterator[tuple[str, str, Found]]:
        """Yield one credential, unless a secret in it is still only a reference."""
        field = self._registry.find(plugin).consumer_key
        value = getattr(conf, field, None)
        if any(isinstance(text, str) and is_reference(text) for _, text in conf):
            kind, _, id = part.key.partition("/")
            path = f"plugins.{plugin}"
            self.clashes.append(Unresolved(MESSAGE, kind=kind, id=id, path=path))
        elif isinstance(value, str):
            yield plugin, value, Found(consumer, conf)

    def _clash(self, plugin: str, first: str, second: str) -> None:
        field = self._registry.find(plugin).consumer_key
        text = f"duplicate {field} of plugin {plugin} found with consumer: {first}"
        self.clashes.append(
            SchemaError(text, kind="consumers", id=second, path=f"plugins.{plugin}.{field}")
        )


def _layer(part: Part, model: Consumer, group_layers: Mapping[str, ConsumerLayer]) -> ConsumerLayer:
    """Return the consumer's plugins over its group's; consumers without own ones share it."""
    if model.group_id is None:
        return ConsumerLayer(part.plugins.steps) if part.plugins.steps else _NO_LAYER
    group = group_layers.get(model.group_id)
    if group is None:
        return ConsumerLayer({}, lacks_group=True)
    if not part.plugins.steps:
        return group
    return ConsumerLayer(merge(part.plugins.steps, group.steps))
