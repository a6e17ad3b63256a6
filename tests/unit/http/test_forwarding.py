"""The head that goes upstream: what is kept, dropped, replaced and refused."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.context import Request
from pingsix_asgi.errors import DownstreamError
from pingsix_asgi.http.forwarding import HOST_PART, Forwarding, Head, _observed
from pingsix_asgi.http.framing import CHUNKED, NO_BODY, UNSAID

PEER = "192.0.2.7"
OBSERVED = {
    b"x-real-ip": b"192.0.2.7",
    b"x-forwarded-for": b"192.0.2.7",
    b"x-forwarded-proto": b"https",
    b"x-forwarded-host": b"example.com",
    b"x-forwarded-port": b"8443",
}


def request(
    *fields: tuple[bytes, bytes], host: bytes | None = b"Example.com:8443", **scope: Any
) -> tuple[Request, dict[str, Any]]:
    named = [] if host is None else [(b"host", host)]
    full: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "query_string": b"",
        "headers": [*named, *fields],
        "client": (PEER, 4711),
        "server": ("198.51.100.1", 8443),
        **scope,
    }
    return Request(full, "/a", b"/a", "example.com"), full


def build(*fields: tuple[bytes, bytes], forwarding: Forwarding | None = None, **scope: Any) -> Head:
    made, full = request(*fields, **scope)
    return (forwarding or Forwarding()).head(made, full)


def parsed(head: Head, framing: bytes = b"") -> tuple[bytes, list[tuple[bytes, bytes]]]:
    encoded = head.encode(framing)
    assert encoded.endswith(b"\r\n\r\n")
    line, *fields = encoded[:-4].split(b"\r\n")
    return line, [tuple(field.split(b": ", 1)) for field in fields]  # type: ignore[misc]


def fields_of(head: Head) -> dict[bytes, bytes]:
    fields = parsed(head)[1]
    assert len(dict(fields)) == len(fields), "a field is there twice"
    return dict(fields)


def test_a_plain_request() -> None:
    line, fields = parsed(build((b"accept", b"*/*"), (b"x-a", b"1"), (b"x-a", b"2")))
    assert line == b"GET /a HTTP/1.1"
    assert fields[:4] == [
        (b"host", b"Example.com:8443"),
        (b"accept", b"*/*"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
    ]
    assert dict(fields[4:]) == OBSERVED


def test_query_and_framing_are_added() -> None:
    line, fields = parsed(build(query_string=b"x=1&y=%20"), b"\r\ncontent-length: 5")
    assert line == b"GET /a?x=1&y=%20 HTTP/1.1"
    assert fields[-1] == (b"content-length", b"5")


@pytest.mark.parametrize(
    "name",
    [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"http2-settings",
    ],
)
def test_hop_by_hop_fields_are_dropped(name: bytes) -> None:
    assert name not in fields_of(build((name, b"h2c")))


def test_what_connection_nominates_is_dropped_but_never_what_decides() -> None:
    head = build(
        (b"connection", b"close, X-Hop, Authorization, X-Forwarded-For, Content-Length, Host"),
        (b"x-hop", b"1"),
        (b"authorization", b"Bearer t"),
        (b"content-length", b"5"),
        (b"x-kept", b"2"),
        method="POST",
    )
    fields = fields_of(head)
    assert b"x-hop" not in fields
    assert fields[b"authorization"] == b"Bearer t"
    assert fields[b"host"] == b"Example.com:8443"
    assert fields[b"x-forwarded-for"] == b"192.0.2.7"
    assert fields[b"x-kept"] == b"2"
    assert head.length == 5


@pytest.mark.parametrize("said", [b"eve", b"jack", b"1"])
def test_a_client_cannot_nominate_away_what_a_plugin_vouches_for(said: bytes) -> None:
    name = b"x-consumer-username"
    made, scope = request((b"connection", name), (name, said))
    made.headers.set(name, b"1" if said == b"1" else b"jack")
    fields = fields_of(Forwarding().head(made, scope))
    assert fields[name] == (b"1" if said == b"1" else b"jack")


def test_a_client_can_nominate_what_it_sent_beside_what_a_plugin_adds() -> None:
    made, scope = request((b"connection", b"x-a"), (b"x-a", b"1"))
    made.headers.append(b"x-a", b"1")
    assert fields_of(Forwarding().head(made, scope))[b"x-a"] == b"1"


def test_what_the_client_says_of_itself_is_replaced() -> None:
    head = build(
        (b"x-real-ip", b"6.6.6.6"),
        (b"x-forwarded-for", b"6.6.6.6"),
        (b"x-forwarded-for", b"7.7.7.7"),
        (b"x-forwarded-proto", b"gopher"),
        (b"x-forwarded-host", b"evil"),
        (b"x-forwarded-port", b"1"),
        (b"forwarded", b"for=6.6.6.6"),
    )
    assert fields_of(head) == {
        b"host": b"Example.com:8443",
        **OBSERVED,
        b"x-forwarded-for": b"6.6.6.6, 7.7.7.7, 192.0.2.7",
    }


SAID = (
    (b"x-real-ip", b"6.6.6.6"),
    (b"x-forwarded-for", b"6.6.6.6"),
    (b"x-forwarded-proto", b"http"),
    (b"x-forwarded-host", b"front"),
    (b"x-forwarded-port", b"80"),
    (b"forwarded", b"for=6.6.6.6"),
)


def test_an_untrusted_peer_has_its_chain_reset() -> None:
    head = build(*SAID, forwarding=Forwarding(lambda peer: False))
    assert fields_of(head) == {b"host": b"Example.com:8443", **OBSERVED}


def test_a_trusted_peer_is_believed() -> None:
    asked: list[str] = []

    def trusts(peer: str) -> bool:
        asked.append(peer)
        return True

    assert fields_of(build(*SAID, forwarding=Forwarding(trusts))) == {
        b"host": b"Example.com:8443",
        b"x-real-ip": b"192.0.2.7",
        b"x-forwarded-for": b"6.6.6.6, 192.0.2.7",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-host": b"front",
        b"x-forwarded-port": b"80",
        b"forwarded": b"for=6.6.6.6",
    }
    assert set(asked) == {PEER}


def test_lines_of_a_trusted_peer_are_joined() -> None:
    twice = ((b"x-forwarded-proto", b"https"), (b"x-forwarded-proto", b"http"))
    fields = fields_of(build(*twice, forwarding=Forwarding(lambda peer: True)))
    assert fields[b"x-forwarded-proto"] == b"https, http"


def test_trust_is_in_the_peer_not_in_the_address_a_plugin_found() -> None:
    made, scope = request(*SAID)
    made.client = ("203.0.113.9", 0)
    fields = fields_of(Forwarding(lambda peer: peer == PEER).head(made, scope))
    assert fields[b"x-real-ip"] == b"203.0.113.9"
    assert fields[b"x-forwarded-for"] == b"6.6.6.6, 203.0.113.9"
    assert fields[b"x-forwarded-proto"] == b"http"


def test_what_a_plugin_sets_stands() -> None:
    made, scope = request((b"x-forwarded-host", b"evil"))
    made.headers.set(b"x-forwarded-host", b"set.by.plugin")
    assert fields_of(Forwarding().head(made, scope))[b"x-forwarded-host"] == b"set.by.plugin"
    made.headers.set(b"x-forwarded-host", b"evil")
    assert fields_of(Forwarding().head(made, scope))[b"x-forwarded-host"] == b"evil"


def test_headers_as_lists_are_the_clients_too() -> None:
    headers = [[b"host", b"h"], [b"x-forwarded-host", b"evil"]]
    made, scope = request(headers=headers)
    made.headers.append(b"x-a", b"1")
    assert fields_of(Forwarding().head(made, scope))[b"x-forwarded-host"] == b"example.com"


def test_no_client_and_no_server_address() -> None:
    fields = fields_of(build(client=None, server=None))
    assert b"x-real-ip" not in fields
    assert b"x-forwarded-for" not in fields
    assert fields[b"x-forwarded-port"] == b"443"


def test_a_port_given_as_text() -> None:
    assert fields_of(build(server=("::1", "9080")))[b"x-forwarded-port"] == b"9080"


def test_observations_differ_by_client() -> None:
    forwarding = Forwarding()
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        head = build(forwarding=forwarding, client=(address, 1))
        assert fields_of(head)[b"x-real-ip"] == address.encode()


def test_many_clients_do_not_fill_memory() -> None:
    forwarding = Forwarding()
    for number in range(3000):
        build(forwarding=forwarding, client=(f"10.0.{number % 256}.{number // 256}", 1))
    assert len(_observed) <= 1024


@pytest.mark.parametrize("bad", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b"])
@pytest.mark.parametrize("name", [b"x-a", b"cookie", b"x-forwarded-for"])
def test_line_breaks_in_values_never_get_through(name: bytes, bad: bytes) -> None:
    with pytest.raises(DownstreamError) as refused:
        build((name, bad)).encode()
    assert refused.value.status == 400


@pytest.mark.parametrize("bad", [b"a b", b"a\r\nx", b"a\0", b"a/b", b"a@b", b"a,b", b"\t"])
def test_a_bad_host_is_refused(bad: bytes) -> None:
    with pytest.raises(DownstreamError):
        build(host=bad).encode()


def test_a_line_break_in_the_host_of_a_node_is_refused() -> None:
    head = build()
    head.parts[HOST_PART] = b"a\r\nx: y"
    with pytest.raises(DownstreamError):
        head.encode()


def test_two_hosts_are_refused() -> None:
    with pytest.raises(DownstreamError):
        build((b"host", b"other"))


@pytest.mark.parametrize("bad", [b"", b"x y", b"x:", b"x\r\n", b"x\xff", b"(x)"])
def test_bad_field_names_are_refused(bad: bytes) -> None:
    with pytest.raises(DownstreamError):
        build((bad, b"1"))


@pytest.mark.parametrize("bad", [b"a b", b"a\r\nb", b"\0", b"a\x7f"])
def test_bad_queries_are_refused(bad: bytes) -> None:
    with pytest.raises(DownstreamError):
        build(query_string=bad)


@pytest.mark.parametrize(
    ("method", "status"),
    [("CONNECT", 405), ("TRACE", 405), ("GE T", 400), ("", 400), ("GET\r\n", 400), ("\u0130", 400)],
)
def test_methods_that_are_refused(method: str, status: int) -> None:
    with pytest.raises(DownstreamError) as refused:
        build(method=method)
    assert refused.value.status == status


def test_unusual_methods_pass() -> None:
    assert parsed(build(method="M-SEARCH"))[0] == b"M-SEARCH /a HTTP/1.1"


@pytest.mark.parametrize(
    ("method", "version", "fields", "length"),
    [
        ("GET", "1.1", (), NO_BODY),
        ("POST", "1.1", (), 0),
        ("PUT", "1.1", (), 0),
        ("POST", "2", (), UNSAID),
        ("GET", "2", (), UNSAID),
        ("POST", "1.1", ((b"content-length", b"3"),), 3),
        ("POST", "1.1", ((b"transfer-encoding", b"chunked"),), CHUNKED),
    ],
)
def test_the_body_is_announced(
    method: str, version: str, fields: tuple[tuple[bytes, bytes], ...], length: int
) -> None:
    head = build(*fields, method=method, http_version=version)
    assert head.length == length
    assert b"content-length" not in fields_of(head)
    assert b"transfer-encoding" not in fields_of(head)


def test_expect_is_noted_and_other_expectations_are_refused() -> None:
    head = build((b"expect", b"100-Continue"), (b"content-length", b"3"), method="POST")
    assert head.expects_continue
    assert b"expect" not in fields_of(head)
    assert not build((b"expect", b"100-continue"), http_version="1.0").expects_continue
    with pytest.raises(DownstreamError) as refused:
        build((b"expect", b"a-miracle"))
    assert refused.value.status == 417


def test_trailers_are_asked_for_if_the_server_takes_them() -> None:
    takes = {"extensions": {"http.response.trailers": {}}}
    fields = fields_of(build((b"te", b"gzip, Trailers"), **takes))
    assert (fields[b"te"], fields[b"connection"]) == (b"trailers", b"te")
    for head in (build((b"te", b"gzip"), **takes), build((b"te", b"trailers"))):
        assert not fields_of(head).keys() & {b"te", b"connection"}


def test_http2_cookies_become_one_line() -> None:
    head = build((b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), http_version="2")
    assert fields_of(head)[b"cookie"] == b"a=1; b=2"
