"""A document taken apart: sections, lists of resources, ids."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pingsix_asgi.config.document import read_document
from pingsix_asgi.config.yaml_text import read_text
from pingsix_asgi.errors import InvalidConfig
from pingsix_asgi.plugin.registry import Registry
from pingsix_asgi.snapshot.check import check_document
from pingsix_asgi.types import JSON

SAMPLE = Path(__file__).parents[2] / "fixtures" / "pingsix_config.yaml"


def problems(document: JSON) -> list[str]:
    with pytest.raises(InvalidConfig) as raised:
        read_document(document)
    return [str(error) for error in raised.value.errors]


def test_pingsix_sample_is_valid_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        document = read_document(read_text(SAMPLE.read_text(), {}))
    assert "sentry is not supported" in caplog.text
    assert document.settings.worker_count == 2
    assert [listener.address for listener in document.settings.listeners] == [
        "0.0.0.0:8080",
        "[::1]:8443",
    ]
    assert {kind: list(items) for kind, items in document.resources.items()} == {
        "routes": ["1", "2", "3", "5"],
        "upstreams": ["1", "2"],
        "services": ["1", "2"],
        "global_rules": ["1"],
    }
    registry = Registry()
    for kind, items in document.resources.items():
        for id, item in items.items():
            assert check_document(kind, id, item, registry) == []


def test_integer_ids_become_text() -> None:
    resources = read_document({"upstreams": [{"id": 7, "nodes": {}}]}).resources
    assert resources == {"upstreams": {"7": {"id": "7", "nodes": {}}}}


def test_consumers_are_filed_by_name_and_their_credentials_apart() -> None:
    document = {
        "consumers": [
            {"username": "jack", "plugins": {}},
            {"id": "jack/credentials/one", "plugins": {}},
        ],
        "credentials": [{"id": "jack/two", "plugins": {}}],
    }
    resources = read_document(document).resources
    assert list(resources["consumers"]) == ["jack"]
    assert list(resources["credentials"]) == ["jack/one", "jack/two"]


def test_nothing_is_a_document() -> None:
    assert read_document(None).resources == {}
    assert read_document({"routes": None}).resources == {}


def test_every_problem_is_told_at_once() -> None:
    no_path = "allOf 1 failed: value should match only one schema, but matches none"
    no_path += " (uri or uris is needed)"
    does_nothing = "object matches none of the required: one of "
    does_nothing += '"plugins", "upstream", "upstream_id", "service_id" or "plugin_config_id"'
    does_nothing += " is needed"
    found = problems(
        {
            "pingsix": {"nope": 1, "admin": {}},
            "routes": [{"uri": "/"}, {"id": 1}, {"id": "1"}, "x", {"id": True}, {"id": ""}],
            "upstreams": {"1": {}},
            "stream_routes": [],
            "routez": [],
            "consumers": [{"id": "jack"}, {}],
        }
    )
    assert found == [
        'pingsix: admin: property "admin" validation failed: '
        "api_key_required: give api_key, or set admin_key_required to false",
        "pingsix: nope: additional properties forbidden, found nope",
        "configuration: stream_routes: stream_routes are not supported",
        "configuration: routez: additional properties forbidden, found routez",
        'routes: 0: id_required: property "id" is required',
        "routes/1: Duplicate routes ID found: 1",
        "routes: 3: wrong type: expected object, got string",
        'routes: 4: id_required: property "id" is required',
        'routes: 5: id_required: property "id" is required',
        "upstreams: wrong type: expected array, got table",
        'consumers: 1: id_required: property "username" is required',
        f"routes/1: uri: {no_path}",
        'consumers/jack: username: property "username" is required',
        f"routes: 0: {does_nothing}",
        f"routes: 2.uri: {no_path}",
        f"routes: 4.uri: {no_path}",
        f"routes: 5.uri: {no_path}",
    ]


@pytest.mark.parametrize("document", [[], "x", 5])
def test_a_document_is_an_object(document: JSON) -> None:
    assert "configuration: wrong type: expected object" in problems(document)[0]
