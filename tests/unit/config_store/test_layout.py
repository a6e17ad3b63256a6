"""Keys and values as APISIX and PingSIX write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.config.layout import MAX_DEPTH, decode_json, encode_json, key_of, locate


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("/apisix/routes/1", ("routes", "1")),
        ("/apisix/global_rules/a.b", ("global_rules", "a.b")),
        ("/apisix/consumers/jack", ("consumers", "jack")),
        ("/apisix/consumers/jack/credentials/c1", ("credentials", "jack/c1")),
        ("/apisix/secrets/vault/1", ("secrets", "vault/1")),
        ("/apisix/plugin_metadata/http-logger", ("plugin_metadata", "http-logger")),
        ("/apisix/routes/", None),
        ("/apisix/routes", None),
        ("/apisix/secrets/", None),
        ("/apisix/.pingsix_graph_revision", None),
        ("/apisix/routes/.ingress_sync_barrier", None),
        ("/apisix/plugins", None),
        ("/apisix/stream_routes/1", None),
        ("/apisix/gen_id", None),
    ],
)
def test_where_a_key_lies(key: str, found: tuple[str, str] | None) -> None:
    assert locate(key, "/apisix") == found


@pytest.mark.parametrize(
    "key",
    [
        "/apisix/unknown/1",
        "/apisix/routes/1/2",
        "/apisix/consumers/jack/other/1",
        "/apisix/secrets/1",
        "/apisix/services/1/graphql_cost_decorations/2",
        "/apisix/whatever",
        "/apisix/unknown/",
    ],
)
def test_foreign_keys_are_told_apart(key: str) -> None:
    with pytest.raises(KeyError):
        locate(key, "/apisix")


def test_the_root_may_be_the_prefix() -> None:
    assert locate("/routes/1", "") == ("routes", "1")
    assert key_of("routes", "1", "") == "/routes/1"


@pytest.mark.parametrize(
    ("kind", "id"), [("routes", "1"), ("credentials", "jack/c1"), ("secrets", "vault/1")]
)
def test_a_key_leads_back_to_its_resource(kind: str, id: str) -> None:
    assert locate(key_of(kind, id, "/p"), "/p") == (kind, id)


def test_raw_control_characters_are_accepted() -> None:
    assert decode_json(b'{"a": "line\n\ttab\x01"}') == {"a": "line\n\ttab\x01"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"NaN",
        b"[Infinity]",
        b"1e999",
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b"[" * 5000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"1" * 5000,
        b"init_dir",
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_what_cannot_be_written_again_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - every kind of ValueError counts
        decode_json(raw)


def test_many_braces_are_not_depth() -> None:
    wide = [{"a": [index]} for index in range(MAX_DEPTH)]
    assert decode_json(json.dumps(wide).encode()) == wide


def test_a_surrogate_pair_is_a_character() -> None:
    assert decode_json(b'"\\ud83d\\ude00"') == "\U0001f600"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_documents_survive_being_written(document: object) -> None:
    assert decode_json(encode_json(document)) == document


@given(st.binary(max_size=200))
def test_bytes_decode_or_raise_valueerror(raw: bytes) -> None:
    try:
        document = decode_json(raw)
    except ValueError:
        return
    encode_json(document)
