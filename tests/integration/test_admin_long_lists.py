"""Long lists of the Admin API leave the event loop to others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pingsix_asgi.config.store import Put
from pingsix_asgi.control.admin.repository import Repository, Stored, unhurried
from support.admin_client import admin_over


async def test_of_a_long_list_only_the_page_has_its_secrets_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    entry = Repository.entry

    def counting(self: Repository, stored: Stored, **options: Any) -> dict[str, Any]:
        shown.append(stored.id)
        return entry(self, stored, **options)

    monkeypatch.setattr(Repository, "entry", counting)
    async with admin_over(tmp_path) as admin:
        puts = [Put(f"/apisix/protos/{n}", b'{"content": "x"}') for n in range(300)]
        await admin.store.commit(puts)
        _, page = await admin("GET", "/protos?page=2&page_size=10")
        assert (page["total"], len(page["list"])) == (300, 10)
        assert [item["key"].rpartition("/")[2] for item in page["list"]] == shown
        _, all = await admin("GET", "/protos")
        assert all["list"][10:20] == page["list"]


async def test_others_get_their_turn_while_items_are_looked_at() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert [item async for item in unhurried(range(1000))] == list(range(1000))
    task.cancel()
    assert turns >= 9
