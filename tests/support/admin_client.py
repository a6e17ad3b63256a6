"""An Admin API over a store of its own, driven in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pingsix_asgi.config.sqlite import SQLiteStore
from pingsix_asgi.config.store import Store
from pingsix_asgi.control.admin import AdminAPI
from pingsix_asgi.model.setting_sections import Admin as Options
from pingsix_asgi.model.setting_sections import AdminKey
from pingsix_asgi.plugin.base import Plugin, PluginConf
from pingsix_asgi.plugin.registry import Registry
from pingsix_asgi.testing import Answer, Client

KEY = "edd1c9f034335f136f87ad84b625c8f1"
VIEWER = "4054f7cf07e344346cd3f287985e76a2"


class Stamp(Plugin):
    """A plugin with a required option and a secret one."""

    name = "stamp"
    priority = 7
    encrypted = ("secret",)

    class Conf(PluginConf):
        count: int
        secret: str | None = None

    Metadata = Conf


class Admin:
    """Requests to an AdminAPI; answers are (status, document)."""

    def __init__(self, store: Store, keyring: Any = None, **options: Any) -> None:
        keys = (AdminKey(key=KEY), AdminKey(key=VIEWER, role="viewer"))
        self.store = store
        self.api = AdminAPI(
            store,
            Registry([Stamp]),
            Options(**{"admin_key": keys, **options}),
            keyring=keyring,
        )
        self.client = Client(self.api)

    async def raw(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        given = {"x-api-key": KEY} if headers is None else headers
        return await self.client.request(method, f"/apisix/admin{path}", headers=given, body=body)

    async def __call__(self, method: str, path: str, document: Any = ...) -> tuple[int, Any]:
        body = b"" if document is ... else json.dumps(document).encode()
        answer = await self.raw(method, path, body)
        return answer.status, json.loads(answer.body) if answer.body.strip() else None

    async def refused(self, method: str, path: str, document: Any = ...) -> tuple[int, str]:
        """Return status and error_msg."""
        status, found = await self(method, path, document)
        return status, found.get("error_msg") if isinstance(found, dict) else found

    async def value(self, path: str) -> Any:
        """Return the stored value without its times."""
        status, found = await self("GET", f"{path}?defaults=false")
        assert status == 200, found
        return {
            name: value
            for name, value in found["value"].items()
            if name not in ("create_time", "update_time")
        }


@asynccontextmanager
async def admin_over(path: Path, **options: Any) -> AsyncIterator[Admin]:
    """Open an Admin API over a SQLite store."""
    store = SQLiteStore(path / "admin.db")
    try:
        yield Admin(store, **options)
    finally:
        await store.aclose()
