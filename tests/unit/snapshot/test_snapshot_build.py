"""A build compiles what changed, links what it touches, and leaves the rest as it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, ClassVar

import pytest

from pingsix_asgi.context import Context
from pingsix_asgi.plugin.base import Host, Plugin, PluginConf, Reply
from pingsix_asgi.snapshot.compile import Compiler
from pingsix_asgi.testing import EchoApp
from support.gateway import Gateway

NODE = {"nodes": {"127.0.0.1:9": 1}}


class Counting(Plugin):
    """Counts how often it was made for which owner, and marks its answers."""

    name = "counting"
    priority = 1
    made: ClassVar[Counter[str]] = Counter()

    class Conf(PluginConf):
        mark: str = "x"
        split: str | None = None

    class Metadata(PluginConf):
        level: int = 0

    def __init__(self, conf: Conf) -> None:
        self.conf = conf

    def setup(self, host: Host) -> None:
        self.made[host.owner] += 1
        self.metadata = host.metadata()
        self.target = host.target(self.conf.split) if self.conf.split else None


class Other(Counting):
    name = "other"


@pytest.fixture
def gateway() -> Gateway:
    Counting.made.clear()
    return Gateway([Counting, Other])


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count compilations by resource."""
    counts: Counter[str] = Counter()
    compile_one = Compiler.compile

    def counting(self: Compiler, kind: str, id: str, *rest: Any) -> Any:
        counts[f"{kind}/{id}"] += 1
        return compile_one(self, kind, id, *rest)

    monkeypatch.setattr(Compiler, "compile", counting)
    return counts


def match_of(gateway: Gateway, id: str) -> Any:
    return gateway.snapshot.router.entries[id].match


def route(path: str = "/", **fields: Any) -> dict[str, Any]:
    return {"uri": path, "plugins": {"counting": {}}, **fields}


async def test_one_route_of_ten_thousand(gateway: Gateway, compiled: Counter[str]) -> None:
    routes = {
        str(n): {"uri": f"/r{n}", "service_id": "s", "plugins": {"counting": {}}}
        for n in range(10_000)
    }
    services = {"s": {"upstream": NODE}}
    assert await gateway.publish(routes=routes, services=services) == []
    assert compiled.total() == 10_001
    assert Counting.made.total() == 10_000
    before = gateway.snapshot
    old = before.router.entries
    compiled.clear()
    Counting.made.clear()

    changed = {**routes, "77": {**routes["77"], "plugins": {"counting": {"mark": "y"}}}}
    assert await gateway.publish(routes=changed, services=services) == []

    assert compiled == {"routes/77": 1}
    assert Counting.made == {"routes/77": 1}
    after = gateway.snapshot
    assert after.changed == ("routes/77",)
    differing = [id for id, entry in after.router.entries.items() if entry is not old[id]]
    assert differing == ["77"]
    assert after.upstreams == before.upstreams
    assert after.unmatched is before.unmatched


async def test_equal_documents_are_not_compiled_again(
    gateway: Gateway, compiled: Counter[str]
) -> None:
    def documents() -> dict[str, Any]:
        return {
            "routes": {str(n): route(f"/{n}", upstream=NODE) for n in range(50)},
            "global_rules": {"1": {"plugins": {"other": {}}}},
        }

    await gateway.publish(**documents())
    compiled.clear()
    entries = dict(gateway.snapshot.router.entries)
    await gateway.publish(**documents())
    assert not compiled
    assert all(gateway.snapshot.router.entries[id] is entry for id, entry in entries.items())


@pytest.mark.parametrize(("old", "new"), [(1, True), (1, 1.0), (0, False)])
async def test_documents_that_python_takes_for_equal_are_told_apart(
    gateway: Gateway, compiled: Counter[str], old: Any, new: Any
) -> None:
    await gateway.publish(routes={"1": route(labels={"a": "b"}, priority=old)})
    compiled.clear()
    await gateway.publish(routes={"1": route(labels={"a": "b"}, priority=new)})
    assert compiled == {"routes/1": 1}


async def test_an_unchanged_plugin_of_a_changed_route_is_kept(gateway: Gateway) -> None:
    plugins = {"counting": {"mark": "a"}, "other": {"mark": "a"}}
    await gateway.publish(routes={"1": {"uri": "/", "plugins": plugins}})
    first = {step.plugin.name: step.plugin for step in match_of(gateway, "1").plan.steps}
    plugins = {"counting": {"mark": "a"}, "other": {"mark": "b"}}
    await gateway.publish(routes={"1": {"uri": "/x", "plugins": plugins}})
    second = {step.plugin.name: step.plugin for step in match_of(gateway, "1").plan.steps}
    assert second["counting"] is first["counting"]
    assert second["other"] is not first["other"]


async def test_changed_metadata_makes_only_its_plugin_anew(gateway: Gateway) -> None:
    routes = {"1": {"uri": "/", "plugins": {"counting": {}, "other": {}}}, "2": route("/2")}
    await gateway.publish(routes=routes)
    first = {step.plugin.name: step.plugin for step in match_of(gateway, "1").plan.steps}
    assert await gateway.publish(routes=routes, plugin_metadata={"counting": {"level": 3}}) == []
    second = {step.plugin.name: step.plugin for step in match_of(gateway, "1").plan.steps}
    assert second["other"] is first["other"]
    assert second["counting"] is not first["counting"]
    assert second["counting"].metadata.level == 3  # type: ignore[attr-defined]
    assert Counting.made == {"routes/1": 3, "routes/2": 2}


async def test_a_plugin_follows_the_upstream_it_uses(gateway: Gateway) -> None:
    routes = {"1": {"uri": "/", "plugins": {"counting": {"split": "u"}}}, "2": route("/2")}
    (missing,) = await gateway.publish(routes=routes)
    assert "failed to fetch upstream info by upstream id [u]" in missing.message

    assert await gateway.publish(routes=routes, upstreams={"u": NODE}) == []
    plugin = match_of(gateway, "1").plan.steps[0].plugin
    assert plugin.target.upstream is gateway.snapshot.upstreams["upstreams/u"]

    changed = {"nodes": {"127.0.0.1:10": 1}}
    await gateway.publish(routes=routes, upstreams={"u": changed})
    plugin = match_of(gateway, "1").plan.steps[0].plugin
    assert plugin.target.upstream is gateway.snapshot.upstreams["upstreams/u"]
    assert Counting.made["routes/2"] == 1


async def test_a_changed_upstream_links_only_what_refers_to_it(
    gateway: Gateway, compiled: Counter[str]
) -> None:
    routes = {
        "direct": route("/a", upstream_id="u"),
        "by-service": route("/b", service_id="s"),
        "other": route("/c", upstream_id="v"),
        "inline": route("/d", upstream=NODE),
    }
    rest = {"services": {"s": {"upstream_id": "u"}}}
    await gateway.publish(routes=routes, upstreams={"u": NODE, "v": NODE}, **rest)
    before = dict(gateway.snapshot.router.entries)
    compiled.clear()
    upstreams = {"u": {**NODE, "retries": 3}, "v": NODE}
    await gateway.publish(routes=routes, upstreams=upstreams, **rest)
    assert compiled == {"upstreams/u": 1}
    entries = gateway.snapshot.router.entries
    assert {id for id in entries if entries[id] is not before[id]} == {"direct", "by-service"}
    assert entries["direct"].match.target.upstream is gateway.snapshot.upstreams["upstreams/u"]


async def test_a_removed_route_is_gone_and_the_others_stay(gateway: Gateway) -> None:
    await gateway.publish(routes={"1": route("/1"), "2": route("/2", upstream=NODE)})
    kept = match_of(gateway, "1")
    await gateway.publish(routes={"1": route("/1")})
    assert list(gateway.snapshot.router.entries) == ["1"]
    assert match_of(gateway, "1") is kept
    assert not gateway.snapshot.upstreams


async def test_status_0_keeps_a_route_out_and_1_brings_it_back(gateway: Gateway) -> None:
    for status, expected in ((1, 1), (0, 0), (1, 1)):
        await gateway.publish(routes={"1": route(status=status)})
        assert len(gateway.snapshot.router) == expected


async def test_a_changed_global_rule_links_every_route(gateway: Gateway) -> None:
    routes = {str(n): route(f"/{n}") for n in range(5)}
    await gateway.publish(routes=routes)
    await gateway.publish(routes=routes, global_rules={"1": {"plugins": {"other": {}}}})
    for entry in gateway.snapshot.router.entries.values():
        names = [step.plugin.name for step in entry.match.plan.steps]  # type: ignore[attr-defined]
        assert names == ["other", "counting"]
    assert Counting.made.total() == 6
    assert len(gateway.snapshot.unmatched.plan.steps) == 1


async def test_routes_without_own_plugins_share_the_plan_of_their_service(
    gateway: Gateway,
) -> None:
    routes = {str(n): {"uri": f"/{n}", "service_id": "s"} for n in range(3)}
    await gateway.publish(routes=routes, services={"s": {"plugins": {"counting": {}}}})
    assert len({id(match_of(gateway, key).plan) for key in routes}) == 1


async def test_a_faulty_resource_is_left_out_and_the_rest_goes_live(gateway: Gateway) -> None:
    errors = await gateway.publish(
        routes={"bad": {"uri": 5}, "good": route("/good"), "worse": route(plugins={"nope": {}})},
        upstreams={"u": {"nodes": {"h:x": 1}}},
    )
    assert sorted({(error.kind, error.id) for error in errors}) == [
        ("routes", "bad"),
        ("routes", "worse"),
        ("upstreams", "u"),
    ]
    assert list(gateway.snapshot.router.entries) == ["good"]
    assert gateway.snapshot.counts == {"routes": 1}


async def test_a_faulty_change_keeps_the_version_before_and_heals(gateway: Gateway) -> None:
    good = route("/good", upstream_id="u")
    await gateway.publish(routes={"1": good}, upstreams={"u": NODE})
    errors = await gateway.publish(routes={"1": {"uri": 5}}, upstreams={"u": NODE})
    assert [error.id for error in errors] == ["1"]
    assert gateway.snapshot.router.entries["1"].paths == ("/good",)

    # still reported by a publication that changes something else, and still linked to what is new
    upstreams = {"u": {**NODE, "retries": 1}}
    errors = await gateway.publish(routes={"1": {"uri": 5}}, upstreams=upstreams)
    assert [error.id for error in errors] == ["1"]
    target = match_of(gateway, "1").target
    assert target.upstream is gateway.snapshot.upstreams["upstreams/u"]

    assert await gateway.publish(routes={"1": route("/new")}, upstreams=upstreams) == []
    assert gateway.snapshot.router.entries["1"].paths == ("/new",)


async def test_a_plugin_of_a_kept_version_follows_its_upstream(gateway: Gateway) -> None:
    good = {"uri": "/", "plugins": {"counting": {"split": "u"}}}
    await gateway.publish(routes={"1": good}, upstreams={"u": NODE})
    bad = {"uri": 5}
    errors = await gateway.publish(routes={"1": bad}, upstreams={"u": {**NODE, "retries": 1}})
    assert [error.id for error in errors] == ["1"]
    plugin = match_of(gateway, "1").plan.steps[0].plugin
    assert plugin.target.upstream is gateway.snapshot.upstreams["upstreams/u"]


async def test_all_or_nothing(gateway: Gateway) -> None:
    await gateway.publish(routes={"1": route("/1")})
    before = gateway.snapshot
    errors = await gateway.publish(
        partial=False, routes={"2": route("/2", upstream=NODE), "3": {"uri": 5}}
    )
    assert [error.id for error in errors] == ["3"]
    assert gateway.snapshot is before


async def test_plugin_faults_are_all_told_with_their_path(gateway: Gateway) -> None:
    plugins = {"counting": {"mark": 5}, "nope": {}, "other": {"_meta": {"x": 1}}}
    errors = await gateway.publish(routes={"1": {"uri": "bad", "plugins": plugins}})
    lead = "failed to check the configuration of plugin"
    found = {error.path: error.message for error in errors}
    assert found["plugins.counting.mark"].startswith(f"{lead} counting err: property")
    assert found["plugins.nope"] == "unknown plugin [nope]"
    assert found["plugins.other._meta.x"].startswith(f'{lead} other err: property "_meta"')


async def test_vars_and_paths_are_judged_with_the_document(gateway: Gateway) -> None:
    errors = await gateway.publish(
        routes={
            "1": route(vars=[["a", "nope", 1]]),
            "2": route(uris=["/x", "/{a}{"], uri=None),
        }
    )
    assert {(error.id, error.path) for error in errors} == {("1", "vars"), ("2", "uris.1")}
    assert errors[0].message.startswith("failed to validate the 'vars' expression: ")


class Refusing(Plugin):
    name = "refusing"
    priority = 1

    def __init__(self, conf: PluginConf) -> None:
        raise RuntimeError("no way")


async def test_a_third_party_plugin_that_fails_is_one_fault_of_its_resource() -> None:
    gateway = Gateway([Refusing, Counting])
    routes = {"1": {"uri": "/", "plugins": {"refusing": {}}}, "2": route("/2")}
    errors = await gateway.publish(routes=routes)
    assert [(error.id, "RuntimeError: no way" in error.message) for error in errors] == [
        ("1", True)
    ]
    assert list(gateway.snapshot.router.entries) == ["2"]


async def test_a_long_build_lets_others_run(gateway: Gateway) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    await gateway.publish(routes={str(n): route(f"/{n}") for n in range(2000)})
    other.cancel()
    assert turns > 10


class Answering(Plugin):
    name = "answering"
    priority = 1

    def access(self, ctx: Context) -> Reply:
        return None


async def test_a_request_keeps_the_snapshot_it_started_with() -> None:
    app = EchoApp()
    gateway = Gateway([Answering], app)
    await gateway.publish(routes={"1": {"uri": "/", "plugins": {"answering": {}}}})
    before = gateway.snapshot
    entry = before.router.entries["1"]
    await gateway.publish(routes={})
    assert before.router.entries["1"] is entry
    assert not gateway.snapshot.router.entries


async def test_a_document_that_breaks_the_compiler_is_its_own_fault(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(self: Compiler, key: str, *rest: Any) -> Any:
        if key == "routes/bad":
            raise ZeroDivisionError("by chance")
        return part(self, key, *rest)

    part = Compiler._part
    monkeypatch.setattr(Compiler, "_part", breaking)
    errors = await gateway.publish(routes={"bad": route("/bad"), "good": route("/good")})
    assert [(error.id, error.message) for error in errors] == [
        ("bad", "ZeroDivisionError: by chance")
    ]
    assert list(gateway.snapshot.router.entries) == ["good"]


async def test_a_service_name_that_is_no_name_is_refused(gateway: Gateway) -> None:
    upstreams = {"1": {"service_name": "[a", "discovery_type": "dns"}, "2": NODE}
    errors = await gateway.publish(upstreams=upstreams)
    assert [(error.id, error.path) for error in errors] == [("1", "service_name")]
