"""Consumers as requests find them: by name, and by the credential an auth plugin reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..context import Consumer
from ..model.consumer import Consumer as ConsumerModel
from ..plugin.base import PluginConf
from ..plugin.layer import Steps


@dataclass(frozen=True, slots=True, eq=False)
class ConsumerLayer:
    """The plugins that a consumer brings along, its group's merged in; equal by identity."""

    steps: Steps
    lacks_group: bool = False
    """The consumer names a group that does not exist: its requests are answered 503."""

    @property
    def is_empty(self) -> bool:
        return not self.steps and not self.lacks_group


@dataclass(slots=True, eq=False)
class Attached:
    """A consumer together with the credential it is found by; what ``ctx.consumer`` holds."""

    username: str
    group_id: str | None
    credential_id: str | None
    custom_id: str | None
    labels: dict[str, str]
    layer: ConsumerLayer


@dataclass(slots=True, eq=False)
class Found:
    """A consumer found by a credential, with the auth conf the credential belongs to."""

    consumer: Consumer
    conf: PluginConf


@dataclass(frozen=True, slots=True, eq=False)
class ConsumerIndex:
    """All consumers of one snapshot."""

    by_name: Mapping[str, Attached] = field(default_factory=dict)
    by_credential: Mapping[str, Mapping[str, Found]] = field(default_factory=dict)
    """Plugin name, then the value of its ``consumer_key``."""


EMPTY_INDEX = ConsumerIndex()
_NOBODY: Mapping[str, Found] = MappingProxyType({})


class LiveConsumers:
    """The consumers one auth plugin can find, as of the snapshot in force."""

    __slots__ = ("_current", "_plugin")

    def __init__(self, plugin: str, current: Callable[[], ConsumerIndex]) -> None:
        self._plugin = plugin
        self._current = current

    def find(self, value: str) -> Found | None:
        """Return who has this credential; the cost does not depend on how many there are."""
        return self._current().by_credential.get(self._plugin, _NOBODY).get(value)

    def by_name(self, username: str) -> Consumer | None:
        """Return the consumer of that name, whatever credentials it has."""
        return self._current().by_name.get(username)


def attached(
    model: ConsumerModel, layer: ConsumerLayer, credential_id: str | None = None
) -> Attached:
    """Make the consumer that a request gets for one of its credentials."""
    labels = model.labels or {}
    return Attached(
        model.username, model.group_id, credential_id, labels.get("custom_id"), labels, layer
    )


def index_credentials(
    found: Iterable[tuple[str, str, Found]], duplicate: Callable[[str, str, str], None]
) -> dict[str, dict[str, Found]]:
    """Index (plugin, value, found) triples; of equal values the last one holds.

    ``duplicate`` is told plugin, and the two consumers, for each value given twice.
    """
    index: dict[str, dict[str, Found]] = {}
    for plugin, value, entry in found:
        values = index.setdefault(plugin, {})
        before = values.get(value)
        if before is not None:
            duplicate(plugin, before.consumer.username, entry.consumer.username)
        values[value] = entry
    return index
