"""Certificates the gateway shows to nodes: its own, or those of a resource of ``ssls``."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.conformance import Bench, Node
from support.conformance_core import ask, delete, put, refused, route, run
from support.pki import PKI


@pytest.fixture(scope="module")
def pki() -> PKI:
    return PKI()


@pytest.fixture(scope="module")
def node(pki: PKI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node that lets in only who shows a certificate of the authority; its address."""
    folder: Path = tmp_path_factory.mktemp("node")
    files = pki.write(folder, "node.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert_path"], files["key_path"])
    context.verify_mode = ssl.CERT_REQUIRED
    pki.ca.configure_trust(context)
    server = Node("TLS")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda request, address: None  # type: ignore[method-assign]  # refusals
    with server.running():
        yield server.address


def upstream(node: str, **tls: Any) -> dict[str, Any]:
    return {"type": "roundrobin", "scheme": "https", "nodes": {node: 1}, "tls": tls}


def test_a_pair_in_the_upstream(bench: Bench, pki: PKI, node: str) -> None:
    cert, key = pki.issue("gateway.test")
    other, other_key = PKI().issue("gateway.test")
    run(
        bench,
        [
            put("routes/1", route("/a", upstream=upstream(node, client_cert=cert, client_key=key))),
            ask("/a", has={"node": "TLS"}),
            put("routes/1", route("/a", upstream=upstream(node, client_cert=other,
                                                          client_key=other_key))),
            ask("/a", status=502),
        ],
    )  # fmt: skip


def test_a_pair_by_id(bench: Bench, pki: PKI, node: str) -> None:
    cert, key = pki.issue("gateway.test")
    mine = {"type": "client", "cert": cert, "key": key}
    run(
        bench,
        [
            put("ssls/1", mine),
            put("upstreams/1", upstream(node, client_cert_id="1")),
            put("routes/1", {"uri": "/a", "upstream_id": 1}),
            put("routes/2", route("/b", upstream=upstream(node, client_cert_id=1))),
            ask("/a", has={"node": "TLS"}), ask("/b", has={"node": "TLS"}),
            put("ssls/1", {**mine, "type": "server", "sni": "test.com"}),
            ask("/a", status=502), ask("/b", status=502),
            put("ssls/1", mine),
            ask("/a", has={"node": "TLS"}), ask("/b", has={"node": "TLS"}),
            delete("ssls/1"),
            ask("/a", status=502), ask("/b", status=502),
        ],
    )  # fmt: skip


def test_what_is_refused(bench: Bench, pki: PKI) -> None:
    cert, key = pki.issue("gateway.test")
    lead = "failed to fetch ssl info by ssl id"
    both = upstream("127.0.0.1:1", client_cert_id=1, client_cert=cert, client_key=key)
    named = upstream("127.0.0.1:1", client_cert_id=9999999)
    run(
        bench,
        [
            refused("upstreams", named, f"{lead} [9999999], response code: 404", "POST"),
            refused("routes/1", route(upstream=named), f"{lead} [9999999], response code: 404"),
            put("ssls/1", {"sni": "test.com", "cert": cert, "key": key}),
            refused("services/1", {"upstream": upstream("127.0.0.1:1", client_cert_id=1)},
                    f"{lead} [1], wrong ssl type"),
            refused("upstreams/1", both, 'invalid configuration: property "tls" validation failed: '
                    'failed to validate dependent schema for "client_cert": '
                    "value wasn't supposed to match schema"),
        ],
    )  # fmt: skip
