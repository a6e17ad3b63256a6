"""What must hold beyond one document, and the conditions that keep it true while writing.

A reference is checked together with the condition that the resource it names still is the one that
was seen; a deletion together with the condition that nothing that could refer to it was written
since. Whoever comes second in a race fails the condition and looks again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ...config.store import Condition, Created, Unchanged
from ...errors import ReferenceMissing
from ...model.resources import KINDS as ORDER
from ...model.resources import check_references, references
from ...plugin.registry import Registry
from ...types import JSON
from .exchange import Refusal, refused
from .kinds import KINDS
from .repository import Repository, Stored, unhurried

_REFERRERS: Final = {
    "upstreams": "can not delete this upstream",
    "services": "can not delete this service directly",
    "plugin_configs": "can not delete this plugin config",
    "consumer_groups": "can not delete this consumer group",
}
_NAMES: Final = {
    "routes": "route",
    "services": "service",
    "plugin_configs": "plugin_config",
    "consumers": "consumer",
    "consumer_groups": "consumer_group",
    "global_rules": "global_rules",
    "credentials": "credential",
}
"""What APISIX's messages call resources that use another. Source: apisix/admin/upstreams.lua."""


class Integrity:
    """Checks across resources. Every method raises Refusal when something would break."""

    def __init__(self, repository: Repository, registry: Registry) -> None:
        self._repository, self._registry = repository, registry

    async def writing(self, kind: str, id: str, document: JSON) -> list[Condition]:
        """Check what a document refers to and must not repeat; return what has to stay true."""
        conditions = await self._references(kind, id, document)
        if kind == "global_rules":
            conditions.append(await self._unique_global_plugins(id, document))
        elif kind in ("consumers", "credentials"):
            conditions += await self._unique_credentials(kind, id, document)
        await self._equal_in_group(kind, id, document)
        return conditions

    async def deleting(self, kind: str, id: str) -> list[Condition]:
        """Check that nothing uses a resource; return what has to stay true."""
        if kind not in _REFERRERS:
            return []
        stored, revision = await self._repository.list(f"{self._repository.store.prefix}/")
        users = [
            (ORDER.index(one.kind), one, found.path)
            async for one in unhurried(stored)
            for found in references(one.kind, one.id, one.document)
            if (found.kind, found.id) == (kind, id)
        ]
        if users:
            _, user, path = min(users, key=lambda user: user[0])
            in_plugin = "plugin in " if path.startswith("plugins.") else ""
            who = f"{in_plugin}{_NAMES.get(user.kind, user.kind)} [{user.id}]"
            raise refused(400, f"{_REFERRERS[kind]}, {who} is still using it now")
        return [
            Unchanged(self._repository.folder(name), revision)
            for name in KINDS
            if name != "credentials"
        ]

    async def _references(self, kind: str, id: str, document: JSON) -> list[Condition]:
        conditions: list[Condition] = []
        present: dict[str, dict[str, JSON]] = {}
        for target, target_id in {(one.kind, one.id) for one in references(kind, id, document)}:
            found = await self._repository.get(target, target_id)
            if found is not None:
                present.setdefault(target, {})[target_id] = found.document
                conditions.append(Created(found.item.key, found.item.created))
        missing: list[ReferenceMissing] = check_references(present, kind, id, document)
        if missing and kind == "credentials":
            raise Refusal(404, {"error_msg": "consumer not found"})
        if missing:
            raise refused(400, missing[0].message)
        return conditions

    async def _unique_global_plugins(self, id: str, document: JSON) -> Condition:
        folder = self._repository.folder("global_rules")
        rules, revision = await self._repository.list(folder)
        mine = _plugins(document)
        for rule in rules:
            for name in _plugins(rule.document) if rule.id != id else ():
                if name in mine:
                    text = f"plugin '{name}' already exists in global rule with id '{rule.id}'"
                    raise refused(400, text)
        return Unchanged(folder, revision)

    async def _equal_in_group(self, kind: str, id: str, document: JSON) -> None:
        """Check that limits of one group are the same, also before and after a change.

        As in APISIX, best effort: no condition.
        """
        mine = self._grouped_limit(document)
        if mine is None:
            return
        stored, _ = await self._repository.list(f"{self._repository.store.prefix}/")
        async for one in unhurried(stored):
            other = self._grouped_limit(self._repository.opened(one.kind, one.document))
            if other is not None and other.group == mine.group and other != mine:
                lead = "failed to check the configuration of plugin limit-count err: "
                raise refused(400, f"{lead}group conf mismatched")

    def _grouped_limit(self, document: JSON) -> Any:
        """Return the conf of a limit-count that shares its counter; None without one."""
        conf = _plugins(document).get("limit-count")
        if not isinstance(conf, dict) or "group" not in conf:
            return None
        try:
            found = self._registry.find("limit-count").Conf.model_validate(conf)
        except (ReferenceMissing, ValueError):
            return None
        return found

    async def _unique_credentials(self, kind: str, id: str, document: JSON) -> list[Condition]:
        mine = set(self._credentials(document))
        if not mine:
            return []
        folder = self._repository.folder("consumers")
        others, revision = await self._repository.list(folder)
        async for other in unhurried(others):
            name = other.id.partition("/")[0]
            if name == id or (other.kind, other.id) == (kind, id):
                continue  # a consumer may have the key of one of its credentials
            if mine & set(self._known(other)):
                raise refused(400, f"duplicate key found with consumer: {name}")
        return [Unchanged(folder, revision)]

    def _known(self, stored: Stored) -> Iterable[tuple[str, str]]:
        return self._credentials(self._repository.opened(stored.kind, stored.document))

    def _credentials(self, document: JSON) -> Iterable[tuple[str, str]]:
        """Yield (plugin, value) for everything a consumer can be found by."""
        for name, conf in _plugins(document).items():
            try:
                field = self._registry.find(name).consumer_key
            except ReferenceMissing:
                continue
            value = conf.get(field) if field and isinstance(conf, dict) else None
            if isinstance(value, str):
                yield name, value


def _plugins(document: JSON) -> dict[str, JSON]:
    plugins = document.get("plugins") if isinstance(document, dict) else None
    return plugins if isinstance(plugins, dict) else {}
