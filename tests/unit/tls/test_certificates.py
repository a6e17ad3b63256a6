"""Certificates by server name, through real handshakes in memory."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trustme

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.model.ssl import SSL
from pingsix_asgi.tls.certificates import Certificates
from pingsix_asgi.tls.contexts import check_ssl, server_context
from pingsix_asgi.tls.listener import listener_context

CA = trustme.CA()


def pem(*names: str, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> tuple[str, str]:
    issued = CA.issue_cert(*names, key_type=key_type)
    chain = "".join(blob.bytes().decode() for blob in issued.cert_chain_pems)
    return chain, issued.private_key_pem.bytes().decode()


def resource(*names: str, **more: Any) -> SSL:
    cert, key = pem(*names)
    return SSL.model_validate({"cert": cert, "key": key, "snis": list(names), **more})


def handshake(
    context: ssl.SSLContext,
    name: str | None,
    client: Any = None,
    version: ssl.TLSVersion | None = None,
) -> Any:
    """Shake hands in memory; returns what both sides know of it."""
    asking = ssl.create_default_context()
    CA.configure_trust(asking)
    asking.check_hostname = False
    asking.set_alpn_protocols(["h2", "http/1.1"])
    if client is not None:
        client.configure_cert(asking)
    if version is not None:
        asking.maximum_version = version
    c_in, c_out, s_in, s_out = (ssl.MemoryBIO() for _ in range(4))
    left = asking.wrap_bio(c_in, c_out, server_hostname=name)
    right = context.wrap_bio(s_in, s_out, server_side=True)
    done: set[Any] = set()
    for _ in range(10):
        for side, out, into in ((left, c_out, s_in), (right, s_out, c_in)):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
            into.write(out.read())
    assert len(done) == 2
    shown: Any = left.getpeercert()
    names = {value for _, value in shown["subjectAltName"]}
    return names, left.selected_alpn_protocol(), right.getpeercert(), right.version()


def test_the_most_exact_name_wins_and_changes_show_in_the_next_handshake() -> None:
    state = Certificates(
        {
            "1": resource("a.example.com"),
            "2": resource("*.example.com"),
            "3": resource("*.deep.example.com"),
        },
        ["h2", "http/1.1"],
    )
    context = listener_context(lambda: state, ["h2", "http/1.1"])
    assert handshake(context, "A.example.com")[0] == {"a.example.com"}
    assert handshake(context, "b.example.com")[0] == {"*.example.com"}
    assert handshake(context, "x.deep.example.com")[:2] == ({"*.deep.example.com"}, "h2")
    with pytest.raises(ssl.SSLError):
        handshake(context, "x.y.example.com")
    state = Certificates({"1": resource("new.example.com")}, ["http/1.1"])
    assert handshake(context, "new.example.com")[0] == {"new.example.com"}
    with pytest.raises(ssl.SSLError):
        handshake(context, "a.example.com")


def test_without_a_name_the_fallback_or_the_listener_s_own_certificate_is_shown() -> None:
    state = Certificates({"1": resource("a.example.com")}, ["http/1.1"])
    own = listener_context(lambda: state, ["http/1.1"], own=pem("own.example.com"))
    assert handshake(own, None)[0] == {"own.example.com"}
    assert handshake(own, "other.example.com")[0] == {"own.example.com"}
    named = listener_context(lambda: state, ["http/1.1"], fallback_sni="a.example.com")
    assert handshake(named, None)[0] == {"a.example.com"}


def test_a_resource_may_hold_several_key_types() -> None:
    rsa_cert, rsa_key = pem("a.example.com", key_type=trustme.KeyType.RSA)
    both = resource("a.example.com", certs=[rsa_cert], keys=[rsa_key])
    context = server_context(both, ["http/1.1"])
    assert handshake(context, "a.example.com")[0] == {"a.example.com"}


def test_clients_are_verified_where_the_resource_says_so() -> None:
    ca = CA.cert_pem.bytes().decode()
    guarded = resource("a.example.com", client={"ca": ca, "skip_mtls_uri_regex": ["^/free"]})
    state = Certificates({"1": guarded}, ["http/1.1"])
    context = listener_context(lambda: state, ["http/1.1"])
    assert handshake(context, "a.example.com")[2] is None
    assert handshake(context, "a.example.com", CA.issue_cert("me"))[2]
    with pytest.raises(ssl.SSLError):
        handshake(context, "a.example.com", trustme.CA().issue_cert("stranger"))
    found = state.find("a.example.com")
    assert found is not None
    assert found.demands_client("/paid")
    assert not found.demands_client("/free/x")


def test_a_resource_may_refuse_a_protocol_version() -> None:
    state = Certificates(
        {
            "1": resource("new.example.com", ssl_protocols=["TLSv1.1", "TLSv1.3"]),
            "2": resource("old.example.com", ssl_protocols=["TLSv1.2"]),
        },
        ["http/1.1"],
    )
    context = listener_context(lambda: state, ["http/1.1"])
    assert handshake(context, "new.example.com", version=None)[3] == "TLSv1.3"
    assert handshake(context, "old.example.com", version=None)[3] == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match="protocol"):
        handshake(context, "new.example.com", version=ssl.TLSVersion.TLSv1_2)


def test_unchanged_resources_keep_their_context() -> None:
    one, two = resource("a.example.com"), resource("b.example.com")
    before = Certificates({"1": one}, ["http/1.1"])
    after = Certificates({"1": one, "2": two}, ["http/1.1"], before)
    assert after.find("a.example.com") is before.find("a.example.com")


def test_what_does_not_load_names_its_field() -> None:
    cert, key = pem("a.example.com")
    other_key, ca = pem("b.example.com")[1], CA.cert_pem.bytes().decode()
    for fields, path in (
        ({"cert": cert, "key": other_key}, "cert"),
        ({"cert": "x" * 200, "key": key}, "cert"),
        ({"cert": cert, "key": key, "client": {"ca": "y" * 200}}, "client.ca"),
        ({"cert": cert, "key": key, "certs": [cert], "keys": [other_key]}, "certs.0"),
        ({"cert": cert, "key": key, "ssl_protocols": ["TLSv1.1"]}, "ssl_protocols"),
        ({"cert": cert, "key": other_key, "type": "client"}, "cert"),
        (
            {"cert": cert, "key": key, "client": {"ca": ca, "skip_mtls_uri_regex": ["/a", "("]}},
            "client.skip_mtls_uri_regex.1",
        ),
    ):
        bad = SSL.model_validate({"sni": "a.example.com", **fields})
        with pytest.raises(SchemaError) as caught:
            check_ssl(bad)
        assert caught.value.path == path


def test_contexts_are_made_for_names_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SSL] = []

    def counting(resource: SSL, alpn: Any) -> ssl.SSLContext:
        made.append(resource)
        return server_context(resource, alpn)

    monkeypatch.setattr("pingsix_asgi.tls.certificates.server_context", counting)
    one, two = resource("a.example.com"), resource("b.example.com")
    state = Certificates({"1": one, "2": two}, ["http/1.1"])
    context = listener_context(lambda: state, ["http/1.1"])
    assert made == []
    for _ in range(2):
        assert handshake(context, "b.example.com")[0] == {"b.example.com"}
    assert made == [two]


def test_a_locked_name_is_refused_and_others_are_not() -> None:
    ssls = {"1/locked": SSL.locked(("a.example.com",)), "2": resource("*.example.com")}
    state = Certificates(ssls, ["http/1.1"])
    own = listener_context(lambda: state, ["http/1.1"], own=pem("own.example.com"))
    assert handshake(own, "b.example.com")[0] == {"*.example.com"}
    with pytest.raises(ssl.SSLError):
        handshake(own, "a.example.com")
    found = state.find("a.example.com")
    assert found is not None
    assert state.verify_clients
    assert found.demands_client("/")
