"""What a finished handshake tells about its connection, as ASGI's TLS extension has it.

Source: https://asgi.readthedocs.io/en/latest/specs/tls.html; ``server_name`` is ours.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ..types import JSON
from .listener import Handshake

_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
"""Names of attributes. Source: RFC 4514 §3."""
_SPECIAL = frozenset(',+"\\<>;=')


def tls_facts(handshake: Handshake, chain: Sequence[str]) -> dict[str, JSON]:
    """Return the value of ``scope["extensions"]["tls"]``; ``chain`` is ``client_chain``'s."""
    cipher = handshake.cipher()
    return {
        "server_cert": handshake.server_cert,
        "client_cert_chain": list(chain),
        "client_cert_name": distinguished_name(handshake.getpeercert() or {}) if chain else None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(handshake.version()),
        "cipher_suite": _ciphers().get(cipher[0]) if cipher else None,
        "server_name": handshake.server_name,
    }


def client_chain(handshake: Handshake) -> tuple[str, ...]:
    """Return the client's verified certificates as PEM, from its own to that of the CA.

    Empty when it showed none, or when the session was begun longer ago than is remembered.
    """
    certificate = handshake.certificate
    if certificate is None or not certificate.verifies_clients:
        return ()
    session = handshake.session.id
    if handshake.session_reused:
        return certificate.chains.get(session, ())
    chain = _verified(handshake)
    if chain and session:
        certificate.chains[session] = chain
    return chain


def distinguished_name(shown: Mapping[str, Any]) -> str:
    """Return the subject of a certificate, as ``getpeercert`` has it, in the form of RFC 4514."""
    parts = (
        "+".join(f"{_SHORT.get(name, name)}={_escaped(value)}" for name, value in part)
        for part in reversed(shown.get("subject", ()))
    )
    return ",".join(parts)


def _verified(handshake: Handshake) -> tuple[str, ...]:
    if hasattr(handshake, "get_verified_chain"):  # public from Python 3.13 on
        return tuple(map(ssl.DER_cert_to_PEM_cert, handshake.get_verified_chain()))
    return tuple(one.public_bytes() for one in handshake._sslobj.get_verified_chain() or ())


def _escaped(value: str) -> str:
    text = "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in value)
    if text[:1] in ("#", " "):
        text = f"\\{text}"
    if text.endswith(" ") and len(text) > 1:
        text = f"{text[:-1]}\\ "
    return text.replace("\0", "\\00")


@cache
def _ciphers() -> Mapping[str, int]:
    """Return the number of each cipher suite by OpenSSL's name."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).get_ciphers()
    return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in found}
