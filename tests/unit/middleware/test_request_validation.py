"""request-validation: what is refused, why, and what goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware.request_validation import RequestValidation
from pingsix_asgi.testing import Client, EchoApp, alone

BODY = {
    "type": "object",
    "required": ["title"],
    "properties": {
        "title": {"type": "string", "minLength": 2},
        "kind": {"enum": ["a", "b"]},
        "n": {"type": "integer", "minimum": 1},
    },
}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", 'property "title" is required'),
        (
            b'{"title": 5}',
            'property "title" validation failed: wrong type: expected string, got number',
        ),
        (
            b'{"title": "x"}',
            'property "title" validation failed: string too short, expected at least 2, got 1',
        ),
        (
            b'{"title": "xx", "kind": "c"}',
            'property "kind" validation failed: matches none of the enum values',
        ),
        (
            b'{"title": "xx", "n": 0}',
            'property "n" validation failed: expected 0 to be at least 1',
        ),
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"title=xx", "Expecting value: line 1 column 1 (char 0)"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (
            b'{"title": "\\ud800"}',
            "'utf-8' codec can't encode character '\\ud800' in position 10: surrogates not allowed",
        ),
        (b"[" * 500_000, "nested too deeply"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_bodies_that_do_not_match_are_told_why(body: bytes, text: str) -> None:
    client = Client(alone(RequestValidation, body_schema=BODY))
    answer = await client.request("POST", "/", body=body)
    assert (answer.status, answer.text) == (400, text)


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [
        ({"enum": ["a"], "type": "string"}, 1, "wrong type: expected string, got number"),
        ({"type": ["string", "null"]}, 1, "wrong type: expected one of string, null, got number"),
        ({"type": "table"}, 1, "wrong type: expected table, got number"),
        ({"minItems": 2}, [1], "expect array to have at least 2 items"),
        ({"maxItems": 1}, [1, 2], "expect array to have at most 1 items"),
        ({"uniqueItems": True}, [1, True, 1], "expected unique items but items 1 and 3 are equal"),
        ({"contains": {"type": "string"}}, [1], "failed to check contains"),
        ({"items": {"type": "string"}}, [1], "failed to validate item 1: wrong type: expected "),
        ({"items": [{}, {"const": 3}]}, [1, 2], "failed to validate item 2: failed to check const"),
        ({"items": [{}], "additionalItems": False}, [1, 2], "found unexpected extra items in"),
        (
            {"items": [{}], "additionalItems": {"maximum": 1}},
            [1, 2],
            "failed to validate additional item 2: expected 2 to be at most 1",
        ),
        ({"minProperties": 2}, {"a": 1}, "expect object to have at least 2 properties"),
        ({"maxProperties": 0}, {"a": 1}, "expect object to have at most 0 properties"),
        (
            {
                "properties": {"a": {}},
                "patternProperties": {"^b": {}},
                "additionalProperties": False,
            },
            {"a": 1, "b": 2, "c": 3},
            "additional properties forbidden, found c",
        ),
        (
            {"additionalProperties": {"type": "string"}},
            {"a": 1},
            "failed to validate additional property a: wrong type: expected string, got number",
        ),
        (
            {"patternProperties": {"^a": {"exclusiveMinimum": 1}}},
            {"ab": 1},
            'failed to validate ab (matching "^a"): expected 1 to be strictly greater than 1',
        ),
        ({"dependencies": {"a": ["b"]}}, {"a": 1}, 'property "b" is required when "a" is set'),
        (
            {"dependencies": {"a": {"required": ["b"]}}},
            {"a": 1},
            'failed to validate dependent schema for "a": property "b" is required',
        ),
        ({"exclusiveMaximum": 1}, 1, "expected 1 to be strictly smaller than 1"),
        ({"multipleOf": 2}, 3, "expected 3 to be a multiple of 2"),
        ({"maxLength": 1}, "ab", "string too long, expected at most 1, got 2"),
        ({"allOf": [{}, {"minimum": 2}]}, 1, "allOf 2 failed: expected 1 to be at least 2"),
        (
            {"anyOf": [{"required": ["a"]}, {"required": ["b", "c"]}]},
            {},
            'object matches none of the required: ["a"] or ["b","c"]',
        ),
        ({"anyOf": [{"minimum": 2}]}, 1, "object matches none of the required"),
        ({"oneOf": [{"minimum": 2}]}, 1, "value should match only one schema, but matches none"),
        (
            {"oneOf": [{"minimum": 2}, {}, {}]},
            1,
            "value should match only one schema, but matches both schemas 2 and 3",
        ),
        ({"not": {}}, 1, "value wasn't supposed to match schema"),
        ({"format": "ipv4"}, "1.2.3.400", "expect valid ipv4 address but got: 1.2.3.400"),
        ({"format": "ipv6"}, "1.2.3.4", "expect valid ipv6 address but got: 1.2.3.4"),
        ({"format": "email"}, "ann", "expect valid email address but got: ann"),
        ({"format": "hostname"}, "a_b", "expect valid hostname address but got: a_b"),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, "string too long, expected at most 1, "),
        ({"if": {"minimum": 1}, "then": {"maximum": 1}}, 2, "expected 2 to be at most 1"),
    ],
)
async def test_the_reason_names_the_place_and_the_fault(schema: Any, value: Any, text: str) -> None:
    within = {"properties": {"v": schema}}
    client = Client(alone(RequestValidation, body_schema=within))
    answer = await client.request("POST", "/", body=json.dumps({"v": value}).encode())
    assert answer.status == 400
    assert answer.text.startswith(f'property "v" validation failed: {text}')


async def test_what_may_never_be_there() -> None:
    client = Client(alone(RequestValidation, body_schema={"properties": {"v": False}}))
    answer = await client.request("POST", "/", body=b'{"v": 1}')
    assert (answer.status, answer.text) == (400, "expect false always")


async def test_values_of_known_formats_and_drafts_pass() -> None:
    formats = {"email": "a@b.test", "hostname": "b.example", "ipv4": "1.2.3.4", "ipv6": "::1"}
    properties = {name: {"format": name} for name in formats}
    client = Client(alone(RequestValidation, body_schema={"properties": properties}))
    for body in (formats, dict.fromkeys(formats, 1)):
        answer = await client.request("POST", "/", body=json.dumps(body).encode())
        assert answer.status == 200
    newer = "https://json-schema.org/draft/2020-12/schema"
    schema = {"$schema": newer, "prefixItems": [{"type": "string"}]}
    client = Client(alone(RequestValidation, body_schema=schema))
    assert (await client.request("POST", "/", body=b"[1]")).status == 400


async def test_headers_are_found_by_any_spelling() -> None:
    spelt = {"X-Token": {"type": "string", "pattern": "^a"}, "x_kind": {"enum": ["b"]}}
    schema = {"required": ["X_Token", "X-KIND"], "properties": spelt}
    client = Client(alone(RequestValidation, header_schema=schema))
    assert (await client.get("/", {"x-token": "a", "x-kind": "b"})).status == 200
    answer = await client.get("/", {"x-token": "a"})
    assert (answer.status, answer.text) == (400, 'property "X-KIND" is required')
    answer = await client.get("/", {"x-token": "c", "x-kind": "b"})
    assert 'property "X-Token" validation failed: failed to match pattern' in answer.text


async def test_a_json_body_goes_on_as_it_was_understood() -> None:
    app = EchoApp()
    client = Client(alone(RequestValidation, app, body_schema=BODY))
    body = b'{"title": "first", "title" :  "second"}'
    headers = {"content-length": str(len(body))}
    assert (await client.request("POST", "/", headers=headers, body=body)).status == 200
    assert app.bodies == [b'{"title":"second"}']
    assert app.header("content-length") == "18"


async def test_forms_headers_and_limits() -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    client = Client(alone(RequestValidation, body_schema=BODY, max_req_body_size=20))
    assert (await client.request("POST", "/", headers=form, body=b"title=abc")).status == 200
    assert (await client.request("POST", "/", headers=form, body=b"kind=a")).status == 400
    assert (await client.request("POST", "/", body=b"x" * 21)).status == 400
    assert (await client.request("POST", "/", body=b"not json")).status == 400
    twice = [("content-type", "a/b"), ("content-type", "c/d")]
    assert (await client.request("POST", "/", headers=twice, body=b'{"title":"ab"}')).status == 400
    schema = {"required": ["x-a"], "properties": {"x-a": {"pattern": "^a+$"}}}
    checked = Client(
        alone(RequestValidation, header_schema=schema, rejected_code=422, rejected_msg="no")
    )
    answer = await checked.get("/", {"x-a": "b"})
    assert (answer.status, answer.text) == (422, "no")
    assert (await checked.get("/", {"x-a": "aa"})).status == 200


def test_a_bad_schema_is_refused_by_field() -> None:
    with pytest.raises(SchemaError, match="body_schema"):
        alone(RequestValidation, body_schema={"type": "nothing"})
    with pytest.raises(SchemaError, match="header_schema"):
        alone(RequestValidation)
