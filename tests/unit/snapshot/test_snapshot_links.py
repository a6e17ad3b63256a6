"""What a matched route answers with, by what it refers to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingsix_asgi.context import Context
from pingsix_asgi.plugin.base import Plugin, PluginConf, Reply
from pingsix_asgi.plugin.layer import merge
from pingsix_asgi.testing import EchoApp
from support.gateway import Gateway


def marking(plugin_name: str, priority: int, policy: Any = "") -> type[Plugin]:
    """Make a plugin that appends its name and mark to the request header ``x-seen``."""

    class Marking(Plugin):
        name = plugin_name
        run_policy = policy

        class Conf(PluginConf):
            mark: str = "-"

        def __init__(self, conf: Marking.Conf) -> None:
            self._mark = f"{plugin_name}:{conf.mark}".encode()

        def rewrite(self, ctx: Context) -> Reply:
            ctx.request.headers.append(b"x-seen", self._mark)
            return None

    Marking.priority = priority
    return Marking


PLUGINS = [
    marking("a", 30),
    marking("b", 20),
    marking("c", 10),
    marking("solo", 5, "prefer_route"),
]


class App:
    """Answers with the x-seen headers it got."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        seen = [value for name, value in scope["headers"] if name == b"x-seen"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b" ".join(seen)})


async def seen(gateway: Gateway, path: str = "/") -> str:
    return (await gateway.get(path)).text


def conf(**marks: str) -> dict[str, Any]:
    return {name: {"mark": mark} for name, mark in marks.items()}


async def test_route_over_plugin_config_over_service_and_global_first() -> None:
    gateway = Gateway(PLUGINS, App())
    errors = await gateway.publish(
        routes={
            "1": {
                "uri": "/",
                "plugins": conf(a="route"),
                "plugin_config_id": "p",
                "service_id": "s",
            }
        },
        plugin_configs={"p": {"plugins": conf(a="config", b="config")}},
        services={"s": {"plugins": conf(a="service", b="service", c="service")}},
        global_rules={"g": {"plugins": conf(c="global")}},
    )
    assert errors == []
    assert await seen(gateway) == "c:global a:route b:config c:service"


async def test_unmatched_runs_global_rules_and_goes_to_the_app() -> None:
    gateway = Gateway(PLUGINS, App())
    await gateway.publish(global_rules={"g": {"plugins": conf(a="global")}})
    assert await seen(gateway) == "a:global"


async def test_a_plugin_in_two_global_rules_runs_in_none() -> None:
    gateway = Gateway(PLUGINS, App())
    rules = {"1": {"plugins": conf(a="1", b="1")}, "2": {"plugins": conf(b="2", c="2")}}
    errors = await gateway.publish(global_rules=rules)
    assert [(error.id, error.path) for error in errors] == [("1", "plugins.b"), ("2", "plugins.b")]
    assert await seen(gateway) == "a:1 c:2"


async def test_prefer_route_drops_the_global_instance() -> None:
    gateway = Gateway(PLUGINS, App())
    await gateway.publish(
        routes={
            "1": {"uri": "/", "plugins": conf(solo="route")},
            "2": {"uri": "/off", "plugins": {"solo": {"_meta": {"disable": True}}}},
        },
        global_rules={"g": {"plugins": conf(solo="global", a="global")}},
    )
    assert await seen(gateway) == "a:global solo:route"
    assert await seen(gateway, "/off") == "a:global solo:global"
    assert await seen(gateway, "/none") == "a:global solo:global"


async def test_meta_priority_orders_and_disable_hides() -> None:
    gateway = Gateway(PLUGINS, App())
    plugins = {
        "a": {"mark": "1", "_meta": {"priority": 1}},
        "b": {"mark": "1"},
        "c": {"mark": "1", "_meta": {"disable": True}},
    }
    await gateway.publish(
        routes={"1": {"uri": "/", "plugins": plugins, "service_id": "s"}},
        services={"s": {"plugins": conf(c="service")}},
    )
    assert await seen(gateway) == "b:1 a:1"


async def test_faults_of_a_disabled_plugin_are_tolerated() -> None:
    gateway = Gateway(PLUGINS, App())
    plugins = {"a": {"nonsense": 1, "_meta": {"disable": True}}}
    assert await gateway.publish(routes={"1": {"uri": "/", "plugins": plugins}}) == []


names = st.sampled_from(["a", "b", "c", "d"])
layers = st.dictionaries(names, st.sampled_from(["on", "off"]))


@given(st.lists(layers, max_size=5))
def test_the_strongest_layer_that_names_a_plugin_has_it_whole(stack: list[Any]) -> None:
    steps = [
        {name: None if state == "off" else (number, name) for name, state in layer.items()}
        for number, layer in enumerate(stack)
    ]
    merged = merge(*steps)
    assert merged.keys() == {name for layer in stack for name in layer}
    for name, step in merged.items():
        first = next(layer for layer in steps if name in layer)
        assert step is first[name]


@settings(max_examples=40, deadline=None)
@given(layers, layers, layers)
async def test_merge_precedence_end_to_end(route: Any, config: Any, service: Any) -> None:
    plugins = [marking(name, 10 - index) for index, name in enumerate("abcd")]
    gateway = Gateway(plugins, App())

    def document(layer: dict[str, str], mark: str) -> dict[str, Any]:
        return {
            name: {"mark": mark, "_meta": {"disable": state == "off"}}
            for name, state in layer.items()
        }

    errors = await gateway.publish(
        routes={
            "1": {
                "uri": "/",
                "plugins": document(route, "route"),
                "plugin_config_id": "p",
                "service_id": "s",
            }
        },
        plugin_configs={"p": {"plugins": document(config, "config")}},
        services={"s": {"plugins": document(service, "service")}},
    )
    assert errors == []
    expected = []
    for name in "abcd":
        for mark, layer in (("route", route), ("config", config), ("service", service)):
            if name in layer:
                if layer[name] == "on":
                    expected.append(f"{name}:{mark}")
                break
    assert await seen(gateway) == " ".join(expected)


LACKING: dict[str, tuple[dict[str, Any], int]] = {
    "no upstream": ({"plugins": {}}, 503),
    "missing upstream": ({"upstream_id": "nope"}, 502),
    "missing upstream beside an inline one": (
        {"upstream_id": "nope", "upstream": {"nodes": {"127.0.0.1:1": 1}}},
        502,
    ),
    "missing service": ({"service_id": "nope"}, 404),
    "missing plugin config": ({"plugins": {}, "plugin_config_id": "nope"}, 503),
    "no upstream in the service": ({"service_id": "empty"}, 503),
    "missing upstream of the service": ({"service_id": "broken"}, 502),
}


@pytest.mark.parametrize(("fields", "status"), LACKING.values(), ids=list(LACKING))
async def test_what_a_route_lacks(fields: dict[str, Any], status: int) -> None:
    gateway = Gateway(PLUGINS)
    errors = await gateway.publish(
        routes={"1": {"uri": "/", **fields}},
        services={"empty": {}, "broken": {"upstream_id": "nope"}},
    )
    assert (await gateway.get()).status == status
    is_told = any(error.message.startswith("failed to fetch") for error in errors)
    assert is_told
    assert gateway.contexts[-1].match.info.route_id == "1"


async def test_nothing_matches() -> None:
    gateway = Gateway()
    await gateway.publish()
    answer = await gateway.get()
    assert (answer.status, answer.text) == (404, '{"error_msg":"404 Route Not Found"}\n')


async def test_a_missing_reference_heals_when_it_appears() -> None:
    gateway = Gateway(PLUGINS, App())
    routes = {"1": {"uri": "/", "service_id": "s", "plugins": {}}}
    (error,) = await gateway.publish(routes=routes)
    assert error.path == "service_id"
    assert (await gateway.get()).status == 404
    assert await gateway.publish(routes=routes, services={"s": {}}) == []
    assert (await gateway.get()).status == 200
    (error,) = await gateway.publish(routes=routes, services={})
    assert error.path == "service_id"
    assert (await gateway.get()).status == 404


async def test_route_info() -> None:
    gateway = Gateway([], EchoApp())
    await gateway.publish(
        routes={"r": {"uris": ["/a", "/b"], "name": "R", "service_id": "s"}},
        services={"s": {"name": "S", "hosts": ["example.com", "*.org"]}},
    )
    await gateway.get("/a", {"host": "example.com"})
    assert gateway.contexts[-1].match.info.uri == "/a"
    await gateway.get("/b", {"host": "example.com"})
    info = gateway.contexts[-1].match.info
    assert (info.route_id, info.route_name, info.service_id, info.service_name) == (
        "r",
        "R",
        "s",
        "S",
    )
    assert (info.uri, info.hosts) == ("/b", ("example.com", "*.org"))
    await gateway.get("/b", {"host": "other.example"})
    assert gateway.contexts[-1].match.info.route_id == ""


@pytest.mark.parametrize(
    ("route", "service", "is_refused"),
    [
        (None, None, False),
        (True, False, False),
        (False, True, True),
        (None, False, True),
        (None, True, False),
    ],
)
async def test_enable_websocket(route: Any, service: Any, is_refused: bool) -> None:
    gateway = Gateway([], EchoApp())
    fields = {} if route is None else {"enable_websocket": route}
    await gateway.publish(
        routes={"1": {"uri": "/", "service_id": "s", **fields}},
        services={"s": {} if service is None else {"enable_websocket": service}},
    )
    messages = await gateway.client.websocket("/")
    assert (messages[0]["type"] != "websocket.accept") is is_refused
    assert (await gateway.get()).status == 200
