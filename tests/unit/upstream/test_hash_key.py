"""What is hashed, and what is hashed instead."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.context import Context
from pingsix_asgi.upstream.hash_key import hash_key
from support.upstreams import make_ctx


class Caller:
    username = "jack"


def full_ctx() -> Context:
    ctx = make_ctx("/p", {"X-Tenant": "acme", "Cookie": "a=1; sid=s3"}, client="192.0.2.7")
    caller: Any = Caller()
    ctx.consumer = caller
    return ctx


@pytest.mark.parametrize(
    ("hash_on", "key", "expected"),
    [
        ("vars", "uri", b"/p"),
        ("vars", "remote_addr", b"192.0.2.7"),
        ("vars", None, b"/p"),
        ("header", "X-Tenant", b"acme"),
        ("head", "x-tenant", b"acme"),
        ("cookie", "sid", b"s3"),
        ("consumer", None, b"jack"),
        ("vars_combinations", "$uri-$remote_addr", b"/p-192.0.2.7"),
        ("vars_combinations", "$uri$arg_x", b"/p"),
    ],
)
def test_the_key_comes_from_the_request(hash_on: str, key: str | None, expected: bytes) -> None:
    assert hash_key(hash_on, key)(full_ctx()) == expected


@pytest.mark.parametrize(
    ("hash_on", "key"),
    [
        ("vars", "arg_missing"),
        ("header", "x-tenant"),
        ("cookie", "sid"),
        ("consumer", None),
        ("vars_combinations", "$arg_a$arg_b"),
    ],
)
def test_an_absent_key_is_the_client_address(hash_on: str, key: str | None) -> None:
    assert hash_key(hash_on, key)(make_ctx(client="192.0.2.9")) == b"192.0.2.9"


def test_an_empty_header_is_not_absent() -> None:
    assert hash_key("header", "x-tenant")(make_ctx(headers={"X-Tenant": ""})) == b""


def test_what_is_no_text_in_a_path_is_hashed_as_it_came() -> None:
    assert hash_key("vars", "uri")(make_ctx("/é")) == "/é".encode()


def test_a_number_is_hashed_as_its_text() -> None:
    ctx = make_ctx()
    ctx.set_var("shard", 12)
    assert hash_key("vars", "shard")(ctx) == b"12"
