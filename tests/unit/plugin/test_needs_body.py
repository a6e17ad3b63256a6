"""A plugin that says ``needs_body`` has the body read before its first hook, whichever that is."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.context import Context
from pingsix_asgi.expr.variables import getter
from pingsix_asgi.plugin.base import Phase, Plugin, Reply
from pingsix_asgi.plugin.plan import Step, compile_plan, read_body
from pingsix_asgi.testing import Client, EchoApp, together

body = getter("request_body")


class Reader(Plugin):
    """Notes what its hooks see of the body."""

    name = "reader"
    priority = 10
    needs_body = True

    def __init__(self, conf: Any) -> None:
        self.seen: list[Any] = []


class Early(Reader):
    async def rewrite(self, ctx: Context) -> Reply:
        self.seen.append(body(ctx))
        return None


class Late(Reader):
    def header_filter(self, ctx: Context) -> None:
        ctx.response.headers.append(b"x-body", str(body(ctx)).encode())

    def log(self, ctx: Context) -> None:
        self.seen.append(body(ctx))


class Skipping(Late):
    skips: frozenset[Phase] = frozenset({"access"})

    def access(self, ctx: Context) -> Reply:
        raise AssertionError("it is skipped")


@pytest.mark.parametrize("plugin", [Late, Skipping])
async def test_a_response_hook_finds_the_body(plugin: type[Plugin]) -> None:
    app = EchoApp()
    answer = await Client(together({plugin: {}}, app)).request("POST", "/", body=[b"a", b"b"])
    assert answer.header("x-body") == "ab"
    assert app.bodies == [b"ab"]


@pytest.mark.parametrize(("plugin", "count"), [(Early, 0), (Late, 1), (Skipping, 1)])
def test_the_plan_reads_it_once(plugin: type[Plugin], count: int) -> None:
    plan = compile_plan({}, {"reader": Step(plugin(None), 10)})
    assert plan.request.count(read_body) == count
    quiet = plugin(None)
    quiet.needs_body = False
    assert read_body not in compile_plan({}, {"reader": Step(quiet, 10)}).request


def test_a_global_rule_and_a_consumer_bring_it_along() -> None:
    late = Step(Late(None), 10)
    assert read_body in compile_plan({"reader": late}).request
    assert read_body in compile_plan({}, {}, consumer_layer={"reader": late}).rest
