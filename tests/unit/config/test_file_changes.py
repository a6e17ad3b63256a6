"""A change of a large file: what it leaves alone costs the event loop nothing."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pingsix_asgi.config.file import FileSource
from pingsix_asgi.errors import SchemaError
from pingsix_asgi.model.resources import Resources

ROUTES: list[dict[str, Any]] = [{"id": str(n), "uri": f"/{n}", "plugins": {}} for n in range(600)]


async def test_unchanged_documents_stay_the_same_objects(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(json.dumps({"routes": ROUTES}))
    published: list[Resources] = []
    collected: list[bool] = []

    async def publish(
        resources: Resources, revision: int, *, partial: bool = True
    ) -> Sequence[SchemaError]:
        published.append(resources)
        collected.append(gc.isenabled())
        return ()

    source = FileSource(path, environ={}, poll_s=0.005)
    following = asyncio.create_task(source.run(publish))
    changed = [*ROUTES[:1], {**ROUTES[1], "priority": 1}, *ROUTES[2:], {**ROUTES[0], "id": "new"}]
    try:
        await _until(published, 1)
        path.write_text(json.dumps({"routes": changed}))
        await _until(published, 2)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    before, after = (resources["routes"] for resources in published)
    assert list(after) == [*before, "new"]
    assert [id for id in after if after[id] is not before.get(id)] == ["1", "new"]
    assert collected == [False, False], "the cycle collector looked through the configuration"
    assert gc.isenabled()


async def test_a_number_that_became_another_type_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("routes: [{id: a, uri: /, plugins: {}, priority: 1}]")
    source = FileSource(path, environ={})
    before = source.document.resources["routes"]["a"]
    path.write_text("routes: [{id: a, uri: /, plugins: {}, priority: true}]")
    source._read()
    assert source.document.resources["routes"]["a"] is not before


async def _until(published: list[Resources], count: int) -> None:
    async with asyncio.timeout(10):
        while len(published) < count:
            await asyncio.sleep(0.005)
