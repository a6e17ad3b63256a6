"""Plugins by name."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from pingsix_asgi.errors import ReferenceMissing
from pingsix_asgi.middleware.echo import Echo
from pingsix_asgi.plugin.base import Plugin
from pingsix_asgi.plugin.registry import Registry


class Mine(Plugin):
    name = "echo"
    priority = 1


class Named(Plugin):
    name = "named"
    priority = 99_999


def test_a_shipped_plugin_is_found_and_remembered() -> None:
    registry = Registry()
    assert registry.find("echo") is Echo
    assert registry.find("echo") is Echo


def test_a_given_class_wins() -> None:
    assert Registry([Mine]).find("echo") is Mine


@pytest.mark.parametrize("name", ["nope", "../echo", "Echo", "os.path", "", "__init__"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ReferenceMissing) as raised:
        Registry().find(name)
    assert raised.value.message == f"unknown plugin [{name}]"


def test_a_plugin_of_pingsix_that_is_missing_says_why() -> None:
    with pytest.raises(ReferenceMissing) as raised:
        Registry().find("grpc-web")
    text = "plugin [grpc-web] cannot be loaded: it comes with HTTP/2 upstreams"
    assert raised.value.message == text
    assert "grpc-web" not in Registry().names()


def test_a_plugin_that_lacks_a_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "pingsix_asgi.middleware.echo"
    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pingsix_asgi.plugin.base", ModuleType("empty"))
    with pytest.raises(ReferenceMissing, match=r"plugin \[echo\] cannot be loaded"):
        Registry().find("echo")


def test_names_are_sorted_by_priority() -> None:
    names = Registry([Named]).names()
    assert names[0] == "named"
    assert {"echo", "key-auth", "cors"} <= set(names)
    priorities = [Registry([Named]).find(name).priority for name in names]
    assert priorities == sorted(priorities, reverse=True)
