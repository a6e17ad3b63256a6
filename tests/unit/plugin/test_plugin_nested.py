"""A plugin given in code is known to the plugins that hold others."""

from __future__ import annotations

import httpx2
import pytest

from pingsix_asgi import PingSIX
from pingsix_asgi.context import Context
from pingsix_asgi.errors import ReferenceMissing, SchemaError
from pingsix_asgi.http.response import json_reply
from pingsix_asgi.plugin.base import Plugin, PluginConf, Reply
from pingsix_asgi.plugin.nested import make_nested
from pingsix_asgi.plugin.registry import Registry


class Knock(Plugin):
    name = "knock"
    priority = 2501
    kind = "auth"

    class Conf(PluginConf):
        word: str

    def __init__(self, conf: Conf) -> None:
        self._word = conf.word.encode()

    def rewrite(self, ctx: Context) -> Reply:
        is_known = ctx.request.headers.get(b"x-knock") == self._word
        return None if is_known else json_reply(401, {"message": "who is there"})


async def test_multi_auth_holds_a_plugin_given_in_code() -> None:
    either = [{"key-auth": {"key": "k"}}, {"knock": {"word": "sesame"}}]
    route = {
        "id": "1",
        "uri": "/*",
        "plugins": {
            "multi-auth": {"auth_plugins": either},
            "mocking": {"response_example": "in", "content_type": "text/plain"},
        },
    }
    gateway = PingSIX(config={"routes": [route]}, plugins=[Knock])
    transport = httpx2.ASGITransport(app=gateway)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert (await client.get("/", headers={"X-Knock": "sesame"})).status_code == 200
        assert (await client.get("/", headers={"X-Knock": "other"})).status_code == 401
        assert (await client.get("/", headers={"apikey": "k"})).status_code == 200


def test_a_nested_plugin_is_judged_in_its_place() -> None:
    registry = Registry([Knock])
    assert isinstance(make_nested(registry, "knock", {"word": "a"}, "rules.0"), Knock)
    with pytest.raises(SchemaError) as caught:
        make_nested(registry, "knock", {}, "rules.0")
    assert caught.value.path == "rules.0.word"
    with pytest.raises(ReferenceMissing):
        make_nested(registry, "no-such", {}, "rules.0")
