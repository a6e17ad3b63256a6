"""Whose word about the client counts, and what is read from it."""

from __future__ import annotations

import pytest

from pingsix_asgi.http.real_ip import peers, take_client
from support.contexts import make_context


@pytest.mark.parametrize(
    ("entries", "inside", "outside"),
    [
        (["127.0.0.1", "unix:"], ["127.0.0.1", "::ffff:127.0.0.1", ""], ["127.0.0.2", "::1", "x"]),
        (["127.0.0.1"], ["127.0.0.1"], ["", "127.0.0.2"]),
        (["10.0.0.0/8", "unix:"], ["10.1.2.3", "::ffff:10.1.2.3", ""], ["11.0.0.1", "x"]),
        (["::1", "10.0.0.1"], ["::1", "0:0::1", "10.0.0.1"], ["", "10.0.0.2"]),
        ([], [], ["", "127.0.0.1"]),
    ],
)
def test_peers(entries: list[str], inside: list[str], outside: list[str]) -> None:
    found = peers(entries)
    assert all(peer in found for peer in inside)
    assert not any(peer in found for peer in outside)


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (b"10.1.2.3", ("10.1.2.3", 0)),
        (b" 10.1.2.3:8080 ", ("10.1.2.3", 8080)),
        (b"1.1.1.1, 2.2.2.2", ("2.2.2.2", 0)),
        (b"[2001:db8::1]:5", ("2001:db8::1", 5)),
        (b"2001:db8::1", ("2001:db8::1", 0)),
        (b"nonsense", ("192.0.2.7", 4711)),
        (b"1.1.1.1,", ("192.0.2.7", 4711)),
        (b"\xff", ("192.0.2.7", 4711)),
        (b"", ("192.0.2.7", 4711)),
    ],
)
def test_the_client_that_is_named(value: bytes, client: tuple[str, int]) -> None:
    request = make_context().request
    take_client(request, value)
    assert request.client == client
