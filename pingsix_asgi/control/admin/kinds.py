"""The kinds of resources the Admin API serves, and what each allows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

ID: Final = re.compile(r"[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,63}")
USERNAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,256}")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind; ``label`` is what APISIX's messages call it."""

    name: str
    label: str
    allows_post: bool = False
    allows_patch: bool = False
    has_id: bool = True
    """Whether stored documents get an ``id`` member."""

    def allows(self, method: str) -> bool:
        """Tell whether the kind supports a method at all."""
        return (method != "POST" or self.allows_post) and (method != "PATCH" or self.allows_patch)


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("routes", "route", allows_post=True, allows_patch=True),
        Kind("services", "service", allows_post=True, allows_patch=True),
        Kind("upstreams", "upstream", allows_post=True, allows_patch=True),
        Kind("ssls", "ssl", allows_post=True, allows_patch=True),
        Kind("global_rules", "global rule", allows_patch=True),
        Kind("plugin_configs", "plugin config", allows_patch=True),
        Kind("consumer_groups", "consumer group", allows_patch=True),
        Kind("secrets", "secret", allows_patch=True),
        Kind("protos", "proto", allows_post=True),
        Kind("consumers", "consumer", has_id=False),
        Kind("credentials", "credential"),
        Kind("plugin_metadata", "plugin_metadata"),
    )
}
