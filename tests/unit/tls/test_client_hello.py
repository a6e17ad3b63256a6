"""The server name of a ClientHello, from hellos that OpenSSL made and from rubbish."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pingsix_asgi.tls.client_hello import MAX_BYTES, Incomplete, read_server_name


def hello(name: str | None, *alpn: str) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    if alpn:
        context.set_alpn_protocols(alpn)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


HELLO = hello("Shop.Example.com", "h2", "http/1.1")
PLAIN = hello(None)


def in_records(data: bytes, size: int) -> bytes:
    """Put the handshake message of one record into several."""
    message = data[5:]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(data[:3] + len(part).to_bytes(2, "big") + part for part in parts)


def test_the_name_is_found() -> None:
    assert read_server_name(HELLO) == "shop.example.com"
    assert read_server_name(HELLO + b"more") == "shop.example.com"
    assert read_server_name(PLAIN) is None
    assert read_server_name(hello("127.0.0.1")) is None  # addresses are never sent


@pytest.mark.parametrize("data", [HELLO, PLAIN], ids=["with a name", "without"])
def test_every_beginning_waits_for_the_rest(data: bytes) -> None:
    for count in range(len(data)):
        with pytest.raises(Incomplete):
            read_server_name(data[:count])


@given(st.integers(1, 600))
@settings(max_examples=40, deadline=None)
def test_records_may_cut_the_hello_anywhere(size: int) -> None:
    data = in_records(HELLO, size)
    assert read_server_name(data) == "shop.example.com"
    with pytest.raises(Incomplete):
        read_server_name(data[:-1])


@given(st.binary(max_size=300), st.integers(0, len(HELLO)), st.integers(0, len(HELLO)))
@settings(max_examples=400, deadline=None)
def test_rubbish_names_nobody_and_breaks_nothing(rubbish: bytes, start: int, end: int) -> None:
    for data in (rubbish, HELLO[:start] + rubbish + HELLO[end:]):
        try:
            found = read_server_name(data)
        except Incomplete:
            continue
        assert found is None or found.isascii()


def test_what_is_no_hello_is_left_to_openssl() -> None:
    assert read_server_name(b"GET / HTTP/1.1\r\n\r\n") is None
    assert read_server_name(b"\x16\x03\x01\x00\x00") is None
    assert read_server_name(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00") is None
    assert read_server_name(b"\x16\x03\x01\xff\xff" + bytes(MAX_BYTES)) is None
