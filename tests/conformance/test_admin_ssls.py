"""Certificates in the Admin API: what is refused, in which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.conformance import Bench
from support.pki import PKI

BAD_CERT = f"-----BEGIN CERTIFICATE-----\n{'A' * 160}\n-----END CERTIFICATE-----"
BAD_KEY = f"-----BEGIN PRIVATE KEY-----\n{'A' * 160}\n-----END PRIVATE KEY-----"
NO_CERT = "failed to parse cert: PEM_read_bio_X509_AUX() failed"
NO_KEY = "failed to parse key: PEM_read_bio_PrivateKey() failed"
THEN = "invalid configuration: then clause did not match"

Document = dict[str, Any]

REFUSED: dict[str, tuple[Callable[[Document], Document], str]] = {
    "a broken certificate": (lambda it: {"cert": BAD_CERT}, NO_CERT),
    "a broken key": (lambda it: {"key": BAD_KEY}, NO_KEY),
    "no key at all": (lambda it: {"key": "K" * 128}, "failed to decrypt previous encrypted key"),
    "a broken further certificate": (
        lambda it: {"certs": [it["cert"], BAD_CERT], "keys": [it["key"], it["key"]]},
        f"failed to handle cert-key pair[2]: {NO_CERT}",
    ),
    "a broken further key": (
        lambda it: {"certs": [it["cert"]], "keys": [BAD_KEY]},
        f"failed to handle cert-key pair[1]: {NO_KEY}",
    ),
    "more certificates than keys": (
        lambda it: {"certs": [it["cert"]], "keys": []},
        "mismatched number of certs and keys",
    ),
    "a broken authority": (
        lambda it: {"client": {"ca": "a.example" * 64}},
        f"failed to validate client_cert: {NO_CERT}",
    ),
    "no authority": (
        lambda it: {"client": {"depth": 1}},
        'invalid configuration: property "client" validation failed: property "ca" is required',
    ),
    "no name": (lambda it: {"snis": None}, THEN),
    "names in both ways": (lambda it: {"sni": "b.example"}, THEN),
    "no certificate": (lambda it: {"cert": None}, THEN),
    "no key": (lambda it: {"key": None}, THEN),
    "no certificate for a client": (
        lambda it: {"cert": None, "type": "client"},
        "invalid configuration: else clause did not match",
    ),
    "an empty list of names": (
        lambda it: {"snis": []},
        'invalid configuration: property "snis" validation failed: '
        "expect array to have at least 1 items",
    ),
}


@pytest.fixture(scope="module")
def pair() -> Document:
    return PKI().ssl("a.example")


@pytest.mark.parametrize("name", REFUSED)
def test_refused(bench: Bench, pair: Document, name: str) -> None:
    change, error = REFUSED[name]
    changed = {**pair, **change(pair)}
    document = {key: value for key, value in changed.items() if value is not None}
    answer = bench.put("ssls/refused", document)
    assert (answer.status_code, answer.json()) == (400, {"error_msg": error})


def test_a_client_needs_no_name(bench: Bench, pair: Document) -> None:
    document = {"type": "client", "cert": pair["cert"], "key": pair["key"]}
    try:
        assert bench.put("ssls/client", document).status_code == 201
    finally:
        bench.clear()
