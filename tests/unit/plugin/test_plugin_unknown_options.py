"""Options that a plugin does not have."""

from __future__ import annotations

import pytest

from pingsix_asgi.plugin.base import Plugin, PluginConf
from pingsix_asgi.plugin.layer import Faults, compile_step
from pingsix_asgi.plugin.registry import Registry


class Marked(Plugin):
    name = "marked"
    priority = 1

    class Conf(PluginConf):
        mark: str = "x"

    def __init__(self, conf: Conf) -> None:
        self.mark = conf.mark


def test_unknown_options_are_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults("routes", "1")
    step = compile_step(Marked, {"mark": "y", "marks": 1, "a": 2, "_meta": {}}, faults, Registry())
    assert step is not None
    assert isinstance(step.plugin, Marked)
    assert step.plugin.mark == "y"
    assert faults.errors == []
    assert caplog.messages == ["routes/1: plugin marked: no option a, marks"]


def test_known_options_are_not(caplog: pytest.LogCaptureFixture) -> None:
    assert compile_step(Marked, {"mark": "y"}, Faults("routes", "1"), Registry()) is not None
    assert caplog.records == []
