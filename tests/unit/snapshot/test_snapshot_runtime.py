"""What outlives snapshots, and how one follows the other."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.plugin.registry import Registry
from pingsix_asgi.secrets.references import References
from pingsix_asgi.snapshot.build import Builder
from pingsix_asgi.snapshot.check import check_document
from pingsix_asgi.snapshot.diff import changed, gone, is_same
from pingsix_asgi.snapshot.resolve import Resolved
from pingsix_asgi.snapshot.runtime import Runtime
from pingsix_asgi.snapshot.state import State
from pingsix_asgi.types import JSON
from pingsix_asgi.upstream.node import PoolKey
from pingsix_asgi.upstream.upstream import Upstream
from support.gateway import Gateway

NODE = {"nodes": {"127.0.0.1:9": 1}}


class Kept:
    def __init__(self, log: list[str], name: str, fails: bool = False) -> None:
        self.log, self.name, self.fails = log, name, fails

    async def aclose(self) -> None:
        self.log.append(self.name)
        if self.fails:
            raise RuntimeError("cannot close")


async def test_what_is_kept_is_made_once_and_closed_newest_first() -> None:
    runtime, log = Runtime(), []
    first = runtime.keep("a", lambda: Kept(log, "a"))
    assert runtime.keep("a", lambda: Kept(log, "other")) is first
    runtime.keep("b", lambda: Kept(log, "b", fails=True))
    runtime.keep("c", dict)
    await runtime.aclose()
    assert log == ["b", "a"]


def test_all_pools_of_a_runtime_share_one_timer() -> None:
    services = Runtime().upstream_services
    one, two = (services.make_pool(PoolKey("127.0.0.1", port, None, None)) for port in (1, 2))
    assert one.ticker is two.ticker


async def test_background_tasks_end_with_the_runtime(caplog: pytest.LogCaptureFixture) -> None:
    runtime = Runtime()

    async def forever() -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        raise RuntimeError("a bug")

    task = runtime.spawn(forever(), "forever")
    failing = runtime.spawn(fails(), "failing")
    await asyncio.wait([failing])
    await asyncio.sleep(0)
    assert "background task failing failed" in caplog.text
    await runtime.aclose()
    assert task.cancelled()


class Calls:
    """Records start and stop of upstreams."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[str] = []
        start, stop = Upstream.start, Upstream.stop

        async def started(upstream: Upstream) -> None:
            self.seen.append(f"start {upstream.retries}")
            await start(upstream)

        def stopped(upstream: Upstream) -> None:
            self.seen.append(f"stop {upstream.retries}")
            stop(upstream)

        monkeypatch.setattr(Upstream, "start", started)
        monkeypatch.setattr(Upstream, "stop", stopped)

    def take(self) -> list[str]:
        seen, self.seen = self.seen, []
        return seen


async def test_upstreams_are_started_before_and_stopped_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Calls(monkeypatch)
    gateway = Gateway()
    await gateway.publish(upstreams={"u": {**NODE, "retries": 1}})
    assert calls.take() == ["start 1"]
    await gateway.publish(upstreams={"u": {**NODE, "retries": 2}})
    assert calls.take() == ["start 2", "stop 1"]
    await gateway.publish(upstreams={"u": {**NODE, "retries": 2}})
    assert calls.take() == []
    await gateway.publish(upstreams={})
    assert calls.take() == ["stop 2"]


async def test_upstreams_of_what_is_not_published_are_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Calls(monkeypatch)
    gateway = Gateway()
    upstreams = {"u": {**NODE, "retries": 1}, "bad": {}}
    await gateway.publish(partial=False, upstreams=upstreams)
    assert calls.take() == ["stop 1"]
    inline = {"upstream": {**NODE, "retries": 3}, "uri": "/", "plugins": {"nope": {}}}
    await gateway.publish(routes={"1": inline})
    assert calls.take() == ["stop 3"]


async def test_an_upstream_that_cannot_start_does_not_stop_the_publication(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(upstream: Upstream) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(Upstream, "start", fails)
    gateway = Gateway()
    assert await gateway.publish(upstreams={"u": NODE}) == []
    assert list(gateway.snapshot.upstreams) == ["upstreams/u"]


async def test_a_snapshot_built_on_another_one_is_refused() -> None:
    runtime = Runtime()
    builder = Builder(runtime, Registry())
    first, second = builder.build({}), builder.build({})
    await runtime.publish(first)
    with pytest.raises(ValueError, match="built on another one"):
        await runtime.publish(second)


async def test_publications_take_turns() -> None:
    gateway = Gateway()
    await asyncio.gather(
        *(gateway.publisher({"routes": {str(n): {"uri": "/", "plugins": {}}}}, n) for n in range(5))
    )
    assert list(gateway.snapshot.router.entries) == ["4"]
    assert gateway.runtime.published == 5


async def test_old_snapshots_are_forgotten() -> None:
    gateway = Gateway()
    for number in range(3):
        await gateway.publish(routes={"1": {"uri": f"/{number}", "upstream": NODE}})
    gc.collect()
    states = [o for o in gc.get_objects() if type(o) is State]
    mine = [s for s in states if "1" in s.documents.get("routes", {})]
    assert len([s for s in mine if s.documents["routes"]["1"].get("upstream") is NODE]) == 1


DIFFS: list[tuple[dict[str, Any], dict[str, Any], list[str], set[str]]] = [
    ({}, {}, [], set()),
    ({"a": [1]}, {"a": [1]}, [], set()),
    ({"a": [1]}, {"a": [2]}, ["a"], set()),
    ({"a": [1]}, {"a": [1], "b": [1]}, ["b"], set()),
    ({"a": [1], "b": [2]}, {"b": [2], "a": [1]}, [], set()),
    ({"a": [1], "b": [2]}, {"b": [2]}, [], {"a"}),
    ({"a": [1], "b": [2]}, {"b": [3], "c": [4]}, ["b", "c"], {"a"}),
    ({"a": [1]}, {"a": [True]}, ["a"], set()),
]


@pytest.mark.parametrize(("before", "now", "others", "lost"), DIFFS)
def test_diff(
    before: dict[str, Any], now: dict[str, Any], others: list[str], lost: set[str]
) -> None:
    assert changed(before, now) == others
    assert gone(before, now) == lost
    shared = {id: before.get(id, document) for id, document in now.items()}
    assert changed(before, shared) == [id for id in now if id not in before]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [({"a": 1}, {"a": 1}, True), ({"a": 1}, {"a": True}, False), ([0.0], [0], False)],
)
def test_is_same(one: JSON, other: JSON, same: bool) -> None:
    assert is_same(one, other) is same


async def test_references_are_resolved_and_the_rest_stays_as_it_is() -> None:
    environ = {"KEY": "one"}
    resolved = Resolved(References(environ))
    plain = {"a": {"x": 1}}
    secret = {"b": {"key": "$env://KEY"}, "c": {"key": "$env://NOPE"}}
    first = await resolved.update({"routes": plain, "consumers": secret})
    assert first["routes"] is plain
    assert first["consumers"] == {"b": {"key": "one"}, "c": {"key": "$env://NOPE"}}
    second = await resolved.update({"routes": plain, "consumers": secret})
    assert second["consumers"] is first["consumers"]
    environ["KEY"] = "two"
    third = await resolved.update({"routes": plain, "consumers": dict(secret)})
    assert third["consumers"]["b"] == {"key": "two"}
    assert third["consumers"]["c"] is first["consumers"]["c"]
    fourth = await resolved.update({"routes": plain, "consumers": {"b": {"key": "plain"}}})
    assert fourth["consumers"] == {"b": {"key": "plain"}}


def messages(kind: str, document: JSON) -> list[str]:
    found = check_document(kind, "1", document, Registry())
    assert all(isinstance(error, SchemaError) for error in found)
    return [f"{error.path}: {error.message}" for error in found]


def test_check_document() -> None:
    split = {"rules": [{"weighted_upstreams": [{"upstream": {"nodes": {"h:x": 1}}}]}]}
    assert messages("routes", {"uri": "/", "plugins": {}}) == []
    assert messages("routes", {"uri": "/{a}{", "plugins": {}})[0].startswith("uri: ")
    assert messages("routes", {"uri": "/", "plugins": {"nope": {}}}) == [
        "plugins.nope: unknown plugin [nope]"
    ]
    (problem,) = messages("services", {"plugins": {"traffic-split": split}})
    at = "plugins.traffic-split.rules.0.weighted_upstreams.0.upstream.nodes.h:x"
    assert problem.startswith(f"{at}: ")
    faulty = {"uris": ["/a", "/{"], "host": "*x*", "vars": [["a", "~~~", 1]], "priority": "x"}
    told = [text.partition(":")[0] for text in messages("routes", {**faulty, "plugins": {}})]
    assert told == ["host", "priority", "uris.1", "vars"]
    assert messages("plugin_metadata", {"x": 1}) == ["plugins.1: unknown plugin [1]"]
