"""hmac-auth: requests signed at the time of the test."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from support.conformance import Bench

REFUSED = {"message": "client request can't be validated"}
DIGESTS = {
    "hmac-sha1": hashlib.sha1,
    "hmac-sha256": hashlib.sha256,
    "hmac-sha512": hashlib.sha512,
}


@pytest.fixture
def jack(bench: Bench) -> Iterator[Bench]:
    conf = {"key_id": "my-access-key", "secret_key": "my-secret-key"}
    bench.put("consumers", {"username": "jack", "plugins": {"hmac-auth": conf}})
    yield bench
    bench.clear()


def protect(bench: Bench, **conf: Any) -> None:
    answer = bench.put("routes/1", {"uri": "/*", "plugins": {"hmac-auth": conf}})
    assert answer.is_success, answer.text
    bench.settle()


def signed(
    target: str = "/hello",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    algorithm: str = "hmac-sha256",
    secret: str = "my-secret-key",
    age_s: float = 0,
) -> dict[str, str]:
    """Return headers with a Date and the signature of everything given."""
    sent = {"Date": formatdate(time() - age_s, usegmt=True), **(headers or {})}
    lines = ["my-access-key", f"{method} {target}", *(f"{n.lower()}: {v}" for n, v in sent.items())]
    text = "".join(f"{line}\n" for line in lines)
    digest = hmac.new(secret.encode(), text.encode(), DIGESTS[algorithm]).digest()
    names = " ".join(["@request-target", *(name.lower() for name in sent)])
    signature = base64.b64encode(digest).decode()
    sent["Authorization"] = (
        f'Signature keyId="my-access-key",algorithm="{algorithm}",'
        f'headers="{names}",signature="{signature}"'
    )
    return sent


@pytest.mark.parametrize("algorithm", DIGESTS)
def test_a_signature_that_holds(jack: Bench, algorithm: str) -> None:
    protect(jack)
    headers = signed("/echo?a=b", headers={"x-custom-a": "asld$%dfasf"}, algorithm=algorithm)
    got = jack.send("GET", "/echo?a=b", headers=headers).json()
    assert got["headers"]["x-consumer-username"] == "jack"
    assert "authorization" in got["headers"]


def test_the_padding_of_a_signature_may_be_missing(jack: Bench) -> None:
    protect(jack)
    headers = signed("/echo")
    headers["Authorization"] = headers["Authorization"].rstrip('="') + '"'
    assert jack.send("GET", "/echo", headers=headers).status_code == 200


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "too old": ({}, signed(age_s=301)),
    "no date at all": ({}, signed(headers={"Date": "Thu, 24 Sep 99999999999 06:39:52 GMT"})),
    "another secret": ({}, signed(secret="wrong")),
    "another target": ({}, signed("/other")),
    "an algorithm that is not allowed": ({"allowed_algorithms": ["hmac-sha512"]}, signed()),
    "a header that had to be signed": ({"signed_headers": ["date", "x-a"]}, signed()),
    "no signature": ({}, {"Authorization": 'Signature keyId="my-access-key"'}),
    "no algorithm": ({}, {"Authorization": 'Signature keyId="my-access-key",signature="b"'}),
    "unknown key": (
        {},
        {"Authorization": 'Signature keyId="x",algorithm="hmac-sha256",signature="y"'},
    ),
}


@pytest.mark.parametrize(("conf", "headers"), REFUSALS.values(), ids=list(REFUSALS))
def test_what_is_refused(jack: Bench, conf: dict[str, Any], headers: dict[str, str]) -> None:
    protect(jack, **conf)
    answer = jack.send("GET", "/hello", headers=headers)
    assert (answer.status_code, answer.json()) == (401, REFUSED)
    assert answer.headers["www-authenticate"] == 'hmac realm="hmac"'


MALFORMED = {
    "": "missing Authorization header",
    "Basic abc": "Authorization header does not start with 'Signature'",
}


@pytest.mark.parametrize(("header", "reason"), MALFORMED.items())
def test_headers_that_say_nothing(jack: Bench, header: str, reason: str) -> None:
    protect(jack)
    answer = jack.send("GET", "/hello", headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert answer.json() == {"message": f"client request can't be validated: {reason}"}


def test_bodies(jack: Bench) -> None:
    protect(jack, validate_request_body=True, hide_credentials=True)
    body = b'{"a": 1}'
    digest = "SHA-256=" + base64.b64encode(hashlib.sha256(body).digest()).decode()
    headers = signed("/echo", method="POST", headers={"Digest": digest})
    got = jack.send("POST", "/echo", headers=headers, content=body).json()
    assert got["body"] == body.decode()
    assert "authorization" not in got["headers"]
    assert jack.send("POST", "/echo", headers=headers, content=b"{}").status_code == 401
    headers = signed("/echo", method="POST")
    assert jack.send("POST", "/echo", headers=headers, content=body).status_code == 401


def test_confs_are_checked(bench: Bench) -> None:
    lead = (
        "invalid plugins configuration: failed to check the configuration of plugin hmac-auth err: "
    )
    for conf, text in (
        ({"key_id": "a"}, 'property "secret_key" is required'),
        ({"secret_key": "a"}, 'property "key_id" is required'),
        (
            {"key_id": "k" * 257, "secret_key": "a"},
            'property "key_id" validation failed: string too long, expected at most 256, got 257',
        ),
    ):
        answer = bench.put("consumers", {"username": "foo", "plugins": {"hmac-auth": conf}})
        assert (answer.status_code, answer.json()) == (400, {"error_msg": lead + text})
    route = {"uri": "/hello", "plugins": {"hmac-auth": {"clock_skew": 0}}}
    assert bench.put("routes/1", route).json() == {
        "error_msg": "failed to check the configuration of plugin hmac-auth err: "
        'property "clock_skew" validation failed: expected 0 to be at least 1'
    }
