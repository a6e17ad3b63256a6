"""Certificates that upstreams show by the id of a resource of ``ssls``."""

from __future__ import annotations

from typing import Any

import pytest

from support.gateway import Gateway
from support.pki import PKI

PKI_ = PKI()
PAIRS = [PKI_.issue(f"gateway-{number}.test") for number in range(2)]
UPSTREAM = {"scheme": "https", "nodes": {"127.0.0.1:1": 1}, "tls": {"client_cert_id": 7}}
WHERE: dict[str, dict[str, Any]] = {
    "a route": {"routes": {"r": {"uri": "/", "upstream": UPSTREAM}}},
    "a service": {
        "routes": {"r": {"uri": "/", "service_id": "s"}},
        "services": {"s": {"upstream": UPSTREAM}},
    },
    "an upstream": {
        "routes": {"r": {"uri": "/", "upstream_id": "u"}},
        "upstreams": {"u": UPSTREAM},
    },
}


def certificate(number: int = 0, **fields: Any) -> dict[str, Any]:
    cert, key = PAIRS[number]
    return {"type": "client", "cert": cert, "key": key, **fields}


def shown(gateway: Gateway) -> list[str | None]:
    """Return the certificates that the upstreams in force show."""
    return [
        upstream.tls.client_cert if upstream.tls else None
        for upstream in gateway.snapshot.upstreams.values()
    ]


@pytest.mark.parametrize("where", WHERE)
async def test_it_follows_the_resource(where: str) -> None:
    gateway, resources = Gateway(), WHERE[where]
    assert await gateway.publish(**resources, ssls={"7": certificate(0)}) == []
    assert shown(gateway) == [PAIRS[0][0]]
    assert await gateway.publish(**resources, ssls={"7": certificate(1)}) == []
    assert shown(gateway) == [PAIRS[1][0]]
    before = gateway.snapshot.upstreams
    await gateway.publish(**resources, ssls={"7": certificate(1), "8": certificate(0)})
    assert gateway.snapshot.upstreams == before


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(
    ("ssls", "what"),
    [
        ({}, "response code: 404"),
        ({"7": certificate(type="server", snis=["a.test"])}, "wrong ssl type"),
    ],
    ids=["missing", "for clients"],
)
async def test_without_it_requests_get_502(where: str, ssls: dict[str, Any], what: str) -> None:
    gateway, resources = Gateway(), WHERE[where]
    for documents in (ssls, {"7": certificate()}, ssls):
        errors = await gateway.publish(**resources, ssls=documents)
        if documents is ssls:
            text = f"failed to fetch ssl info by ssl id [7], {what}"
            assert [error.message for error in errors] == [text]
            assert (await gateway.get()).status == 502
            assert shown(gateway) == []
        else:
            assert errors == []
            assert shown(gateway) == [PAIRS[0][0]]


async def test_it_is_refused_inside_a_plugin() -> None:
    shares = [{"upstream": UPSTREAM}]
    plugins = {"traffic-split": {"rules": [{"weighted_upstreams": shares}]}}
    gateway = Gateway()
    errors = await gateway.publish(
        routes={"r": {"uri": "/", "plugins": plugins}}, ssls={"7": certificate()}
    )
    assert len(errors) == 1
    assert "not supported in plugins" in errors[0].message
