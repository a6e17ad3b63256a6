"""Consumers: found by credential, their plugins and their group's merged in."""

from __future__ import annotations

from typing import Any

from pingsix_asgi.context import Context
from pingsix_asgi.plugin.base import Host, Plugin, PluginConf, Reply
from pingsix_asgi.plugin.consumer import attach
from pingsix_asgi.snapshot.match import PlanCache
from pingsix_asgi.testing import EchoApp
from support.gateway import Gateway


class Knock(Plugin):
    """Finds a consumer by the header ``x-knock``."""

    name = "knock"
    priority = 100
    kind = "auth"
    consumer_key = "word"

    class ConsumerConf(PluginConf):
        word: str

    def setup(self, host: Host) -> None:
        self._consumers = host.consumers(self.name)

    def rewrite(self, ctx: Context) -> Reply:
        word = (ctx.request.headers.get(b"x-knock") or b"").decode()
        found = self._consumers.find(word)
        consumer = found.consumer if found is not None else self._consumers.by_name(word)
        if consumer is not None:
            attach(ctx, consumer)
        return None


class Tag(Plugin):
    """Writes its conf into the answer, and when it is asked to rewrite."""

    name = "tag"
    priority = 10

    class Conf(PluginConf):
        text: str

    def __init__(self, conf: Conf) -> None:
        self._text = conf.text.encode()

    def rewrite(self, ctx: Context) -> Reply:
        ctx.request.headers.append(b"x-rewritten", self._text)
        return None

    def header_filter(self, ctx: Context) -> None:
        ctx.response.headers.append(b"x-" + self.name.encode(), self._text)


class Label(Tag):
    name = "label"


ROUTES = {"1": {"uri": "/", "plugins": {"knock": {}, "tag": {"text": "route"}}}}
CONSUMERS = {
    "ann": {
        "username": "ann",
        "labels": {"custom_id": "42", "team": "x"},
        "plugins": {"knock": {"word": "a"}},
    },
    "bob": {"username": "bob", "group_id": "g", "plugins": {"knock": {"word": "b"}}},
    "cy": {
        "username": "cy",
        "group_id": "g",
        "plugins": {"knock": {"word": "c"}, "tag": {"text": "cy"}},
    },
    "lost": {"username": "lost", "group_id": "nope", "plugins": {"knock": {"word": "l"}}},
    "off": {
        "username": "off",
        "plugins": {"knock": {"word": "o"}, "tag": {"text": "", "_meta": {"disable": True}}},
    },
}
GROUPS = {"g": {"plugins": {"tag": {"text": "group"}, "label": {"text": "group"}}}}
CREDENTIALS = {"ann/second": {"plugins": {"knock": {"word": "a2"}}}}


async def make(**more: Any) -> tuple[Gateway, EchoApp]:
    app = EchoApp()
    gateway = Gateway([Knock, Tag, Label], app)
    resources = {
        "routes": ROUTES,
        "consumers": CONSUMERS,
        "consumer_groups": GROUPS,
        "credentials": CREDENTIALS,
        **more,
    }
    (error,) = await gateway.publish(**resources)
    assert (error.kind, error.id, error.path) == ("consumers", "lost", "group_id")
    return gateway, app


async def tags(gateway: Gateway, word: str) -> tuple[int, list[str], list[str]]:
    answer = await gateway.get("/", {"x-knock": word})
    return answer.status, answer.all("x-tag"), answer.all("x-label")


async def test_found_by_credential_and_by_name() -> None:
    gateway, app = await make()
    await gateway.get("/", {"x-knock": "a"})
    consumer = gateway.contexts[-1].consumer
    assert consumer is not None
    assert (consumer.username, consumer.credential_id, consumer.custom_id) == ("ann", None, "42")
    assert consumer.labels == {"custom_id": "42", "team": "x"}
    assert app.header("x-consumer-custom-id") == "42"

    await gateway.get("/", {"x-knock": "a2"})
    consumer = gateway.contexts[-1].consumer
    assert consumer is not None
    assert (consumer.username, consumer.credential_id) == ("ann", "second")

    await gateway.get("/", {"x-knock": "bob"})
    consumer = gateway.contexts[-1].consumer
    assert consumer is not None
    assert (consumer.username, consumer.group_id) == ("bob", "g")

    await gateway.get("/", {"x-knock": "nobody"})
    assert gateway.contexts[-1].consumer is None


async def test_consumer_over_group_over_route() -> None:
    gateway, _app = await make()
    assert await tags(gateway, "") == (200, ["route"], [])
    assert await tags(gateway, "a") == (200, ["route"], [])
    assert await tags(gateway, "b") == (200, ["group"], ["group"])
    assert await tags(gateway, "c") == (200, ["cy"], ["group"])
    assert await tags(gateway, "o") == (200, [], [])


async def test_only_what_the_consumer_brought_is_rewritten_once_more() -> None:
    gateway, _app = await make()
    await gateway.get("/", {"x-knock": "b"})
    headers = gateway.contexts[-1].request.headers
    rewritten = headers.getlist(b"x-rewritten")
    assert rewritten == [b"route", b"group"]  # tag of the route, then label of the group


async def test_a_group_that_is_not_there_is_503() -> None:
    gateway, _app = await make()
    assert (await tags(gateway, "l"))[0] == 503


async def test_consumers_of_one_group_share_a_plan() -> None:
    gateway, _app = await make()
    await gateway.get("/", {"x-knock": "b"})
    first = gateway.contexts[-1].plan
    assert len(gateway.builder.plans) == 1
    await gateway.get("/", {"x-knock": "b"})
    assert gateway.contexts[-1].plan is first
    await gateway.get("/", {"x-knock": "c"})
    assert len(gateway.builder.plans) == 2


async def test_the_plan_cache_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(PlanCache, "MAX_PLANS", 2)
    gateway, _app = await make()
    for word in "bcobco":
        await gateway.get("/", {"x-knock": word})
        assert len(gateway.builder.plans) <= 2
    assert await tags(gateway, "c") == (200, ["cy"], ["group"])


async def test_a_change_of_consumers_is_seen_without_new_plugins() -> None:
    gateway, _app = await make()
    await gateway.get("/", {"x-knock": "b"})
    assert len(gateway.builder.plans) == 1
    plan = gateway.snapshot.router.entries["1"].match.plan
    consumers = {"ann": {"username": "ann", "plugins": {"knock": {"word": "new"}}}}
    assert await gateway.publish(routes=ROUTES, consumers=consumers) == []
    assert gateway.snapshot.router.entries["1"].match.plan is plan
    assert len(gateway.builder.plans) == 0
    await gateway.get("/", {"x-knock": "a"})
    assert gateway.contexts[-1].consumer is None
    await gateway.get("/", {"x-knock": "new"})
    assert gateway.contexts[-1].consumer is not None


async def test_a_changed_group_reaches_its_consumers() -> None:
    gateway, _app = await make()
    groups = {"g": {"plugins": {"tag": {"text": "new"}}}}
    await gateway.publish(routes=ROUTES, consumers=CONSUMERS, consumer_groups=groups)
    assert await tags(gateway, "b") == (200, ["new"], [])


async def test_a_credential_given_twice_is_told_and_the_last_holds() -> None:
    gateway = Gateway([Knock])
    consumers = {
        name: {"username": name, "plugins": {"knock": {"word": "same"}}} for name in ("x", "y")
    }
    (error,) = await gateway.publish(consumers=consumers)
    assert error.message == "duplicate word of plugin knock found with consumer: x"
    assert error.id == "y"
    found = gateway.runtime.consumers("knock").find("same")
    assert found is not None
    assert found.consumer.username == "y"


async def test_a_secret_that_cannot_be_resolved_disables_the_credential() -> None:
    gateway = Gateway([Knock])
    word = "$env://PINGSIX_TEST_NOT_SET"
    consumers = {"x": {"username": "x", "plugins": {"knock": {"word": word}}}}
    (error,) = await gateway.publish(consumers=consumers)
    assert error.message.startswith("disabled")
    assert gateway.runtime.consumers("knock").find(word) is None
    assert gateway.runtime.consumers("knock").by_name("x") is not None


async def test_a_credential_holds_auth_plugins_only() -> None:
    gateway = Gateway([Knock, Tag])
    errors = await gateway.publish(
        consumers={"x": {"username": "x"}},
        credentials={"x/1": {"plugins": {"tag": {"text": "t"}}}, "nobody/1": {"plugins": {}}},
    )
    assert [(error.id, error.message.partition(":")[0]) for error in errors] == [
        ("x/1", "only supports auth type plugins in consumer credential"),
        ("nobody/1", "failed to fetch consumer info by consumer name [nobody], response code"),
    ]


async def test_a_bad_consumer_conf_is_told_with_its_path() -> None:
    gateway = Gateway([Knock])
    (error,) = await gateway.publish(
        consumers={"x": {"username": "x", "plugins": {"knock": {"word": 1}}}}
    )
    assert error.path == "plugins.knock.word"
    assert error.message.startswith("failed to check the configuration of plugin knock err: ")
