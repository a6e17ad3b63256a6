"""Lists in the Admin API: their form, paging and filters."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from support.conformance import KEY, Bench
from support.conformance_core import Step, get, put, route, run, take

KINDS = (
    "routes",
    "services",
    "upstreams",
    "ssls",
    "global_rules",
    "plugin_configs",
    "consumer_groups",
    "consumers",
    "protos",
    "plugin_metadata",
    "secrets",
)
ELEVEN = range(1, 12)


def ids(bench: Bench, query: str) -> list[str]:
    """Return the ids in a list, in its order."""
    answer = bench._client.get(
        f"http://127.0.0.1:{bench.admin}/apisix/admin/{query}", headers={"X-API-KEY": KEY}
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert set(found) == {"total", "list"}
    return [entry["key"].rpartition("/")[2] for entry in found["list"]]


@pytest.fixture
def eleven(bench: Bench) -> Any:
    """Eleven routes whose names, labels and paths hold their numbers."""
    steps: list[Step] = [put("services/1", {"upstream": {"nodes": {"{A}": 1}}}),
                         put("upstreams/1", {"nodes": {"{A}": 1}})]  # fmt: skip
    for number in ELEVEN:
        target = {"service_id": "1"} if number % 2 == 0 else {"upstream_id": 1}
        body = {"uris": [f"/at{number}", f"/also{number}"], "name": f"name-{number}",
                "labels": {f"l{number}": "common"}, **target}  # fmt: skip
        steps.append(put(f"routes/{number}", body))
    try:
        take(bench, steps)
        yield
    finally:
        bench.clear()


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_list(bench: Bench, kind: str) -> None:
    run(bench, [get(kind, document={"total": 0, "list": []})])


def test_entries(bench: Bench) -> None:
    entry = {"key": "/apisix/routes/1", "value": route()}
    run(
        bench,
        [
            put("routes/1", route()),
            put("routes/2", route()),
            get("routes", has={"total": 2}, like='"createdIndex":[0-9]+,"modifiedIndex":[0-9]+'),
            get("routes/", has={"total": 2}),
            get("routes/1", has=entry, like='"createdIndex":[0-9]+,"modifiedIndex":[0-9]+'),
        ],
    )


@pytest.mark.usefixtures("eleven")
class TestSelection:
    """Which entries, in which order."""

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("page=1&page_size=10", [str(number) for number in range(1, 11)]),
            ("page=2&page_size=10", ["11"]),
            ("page=3&page_size=10", []),
            ("page=-1&page_size=10", [str(number) for number in range(1, 11)]),
            ("page=x&page_size=10", [str(number) for number in range(1, 11)]),
            ("page=1", [str(number) for number in ELEVEN]),
            ("page_size=10", [str(number) for number in ELEVEN]),
            ("name=1", ["1", "10", "11"]),
            ("name=-1$", ["1"]),
            ("label=l1", ["1"]),
            ("label=common", []),
            ("label=", []),
            ("uri=also1", ["1", "10", "11"]),
            ("uri=at11", ["11"]),
            ("uri=also1&label=l10", ["10"]),
            ("name=1&page=1&page_size=10", ["1", "10", "11"]),
            (f"filter={quote('service_id=1')}", ["2", "4", "6", "8", "10"]),
            (f"filter={quote('upstream_id=1')}", ["1", "3", "5", "7", "9", "11"]),
            (f"filter={quote('upstream_id=1&service_id=1')}", []),
            (f"filter={quote('something=else')}", [str(number) for number in ELEVEN]),
            ("unknown=1", [str(number) for number in ELEVEN]),
        ],
    )
    def test_query(self, bench: Bench, query: str, expected: list[str]) -> None:
        assert ids(bench, f"routes?{query}") == expected
        assert ids(bench, f"routes/?{query}") == expected

    def test_total_is_that_of_the_filter_not_of_the_page(self, bench: Bench) -> None:
        for query, total in (("page=2&page_size=10", 11), ("name=1&page=1&page_size=10", 3)):
            answer = bench.manage("GET", f"routes?{query}")
            assert answer.json()["total"] == total

    @pytest.mark.parametrize("size", ["2", "9", "501", "-1", "x"])
    def test_sizes_of_pages(self, bench: Bench, size: str) -> None:
        answer = bench.manage("GET", f"routes?page=1&page_size={size}")
        assert answer.status_code == 400
        assert answer.text.strip() == "page_size must be between 10 and 500"

    def test_an_update_keeps_the_place(self, bench: Bench) -> None:
        bench.put("routes/3", {"uri": "/new", "upstream_id": "1"})
        assert ids(bench, "routes")[:4] == ["1", "2", "3", "4"]


def test_services_by_name_and_label(bench: Bench) -> None:
    steps: list[Step] = [
        put(f"services/{number}", {"name": str(number), "labels": {str(number): "x"}})
        for number in ELEVEN
    ]
    try:
        take(bench, steps)
        assert ids(bench, "services?name=1") == ["1", "10", "11"]
        assert ids(bench, "services?label=1") == ["1"]
    finally:
        bench.clear()
