"""TLS to nodes: verification, names, client certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from pingsix_asgi.errors import ConnectError, SchemaError
from pingsix_asgi.proxy.pool import Pool
from pingsix_asgi.proxy.tls import client_context
from pingsix_asgi.upstream.node import PoolKey, TLSOptions
from support.raw_upstream import OK, Fronts, ListedUpstream, OneRoute, Peer, answering, ask

LARGE = b"x" * 3_000_000


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(authority.cert_pem.bytes())
    return str(path)


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("node.test", "127.0.0.1")


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
async def fronted() -> AsyncIterator[Fronts]:
    async with Fronts() as fronts:
        yield fronts


async def test_unverified_by_default(fronted: Fronts, certificate: trustme.LeafCert) -> None:
    app, raw = await fronted(
        answering(OK), served_over=server_context(certificate), tls=TLSOptions()
    )
    for _ in range(3):
        assert (await ask(app)).body == b"ok"
    assert len(raw.peers) == 1
    assert repr(app.upstream.pool).startswith("Pool(https://127.0.0.1:")


@pytest.mark.parametrize("server_name", [None, "node.test"])
async def test_verified(
    fronted: Fronts, certificate: trustme.LeafCert, ca_file: str, server_name: str | None
) -> None:
    app, _ = await fronted(
        answering(OK),
        served_over=server_context(certificate),
        tls=TLSOptions(verify=True, ca_file=ca_file),
        server_name=server_name,
    )
    assert (await ask(app)).body == b"ok"


async def test_the_server_name_is_asked_for(fronted: Fronts, certificate: trustme.LeafCert) -> None:
    context = server_context(certificate)
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    app, _ = await fronted(
        answering(OK), served_over=context, tls=TLSOptions(), server_name="sni.test"
    )
    await ask(app)
    assert names == ["sni.test"]


@pytest.mark.parametrize(
    ("verifies_with", "server_name"),
    [(None, "node.test"), ("ca", "other.test")],
    ids=["unknown authority", "wrong name"],
)
async def test_verification_failures_are_connect_failures(
    fronted: Fronts,
    certificate: trustme.LeafCert,
    ca_file: str,
    verifies_with: str | None,
    server_name: str,
) -> None:
    app, raw = await fronted(
        answering(OK),
        served_over=server_context(certificate),
        tls=TLSOptions(verify=True, ca_file=verifies_with and ca_file),
        server_name=server_name,
    )
    assert (await ask(app)).status == 502
    error = app.upstream.finishes[0].error
    assert isinstance(error, ConnectError)
    assert "certificate verify failed" in str(error)
    assert not raw.heads


async def test_a_node_that_does_not_speak_tls(fronted: Fronts) -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(10)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    app, _ = await fronted(plain, tls=TLSOptions())
    assert (await ask(app)).status == 502
    assert isinstance(app.upstream.finishes[0].error, ConnectError)


async def test_client_certificates(
    fronted: Fronts, authority: trustme.CA, certificate: trustme.LeafCert
) -> None:
    context = server_context(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    client = authority.issue_cert("gateway.test")
    options = TLSOptions(
        client_cert=client.cert_chain_pems[0].bytes().decode(),
        client_key=client.private_key_pem.bytes().decode(),
    )
    app, _ = await fronted(answering(OK), served_over=context, tls=options)
    assert (await ask(app)).body == b"ok"
    app, _ = await fronted(answering(OK), served_over=context, tls=TLSOptions())
    assert (await ask(app)).status == 502


async def test_large_bodies_both_ways(fronted: Fronts, certificate: trustme.LeafCert) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LARGE) + LARGE)

    app, _ = await fronted(script, served_over=server_context(certificate), tls=TLSOptions())
    headers = [(b"content-length", b"%d" % len(LARGE))]
    answer = await ask(app, "POST", headers=headers, body=[LARGE])
    assert answer.body == LARGE


async def test_an_answer_that_breaks_off(fronted: Fronts, certificate: trustme.LeafCert) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        peer.close()

    app, raw = await fronted(script, served_over=server_context(certificate), tls=TLSOptions())
    assert (await ask(app)).status == 502
    await asyncio.wait_for(raw.peers[0].gone.wait(), 5)


def test_equal_options_share_a_context(ca_file: str) -> None:
    options = TLSOptions(verify=True, ca_file=ca_file)
    context = client_context(options)
    assert client_context(TLSOptions(verify=True, ca_file=ca_file)) is context
    assert client_context(TLSOptions()) is not context


@pytest.mark.parametrize(
    "options",
    [
        TLSOptions(verify=True, ca_file="/does/not/exist.pem"),
        TLSOptions(client_cert="no certificate", client_key="no key"),
    ],
)
def test_unusable_options_are_a_configuration_error(options: TLSOptions) -> None:
    with pytest.raises(SchemaError):
        Pool(PoolKey("127.0.0.1", 1, options))


def test_a_locked_key_is_never_asked_a_password_for() -> None:
    from cryptography.hazmat.primitives import serialization

    leaf = trustme.CA().issue_cert("x.test")
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    options = TLSOptions(
        client_cert=leaf.cert_chain_pems[0].bytes().decode(), client_key=locked.decode()
    )
    with pytest.raises(SchemaError):
        OneRoute(ListedUpstream(1, tls=options))
