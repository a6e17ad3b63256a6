"""Certificates of a CA made for one test run, and clients that look at what a listener shows."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

DEADLINE_S = 20.0


class PKI:
    """A CA with what it issued."""

    def __init__(self) -> None:
        self.ca = trustme.CA()

    @property
    def ca_pem(self) -> str:
        return self.ca.cert_pem.bytes().decode()

    def issue(self, *names: str, common_name: str | None = None) -> tuple[str, str]:
        """Return certificate chain and key, PEM."""
        issued = self.ca.issue_cert(*names, common_name=common_name, key_type=trustme.KeyType.ECDSA)
        chain = "".join(blob.bytes().decode() for blob in issued.cert_chain_pems)
        return chain, issued.private_key_pem.bytes().decode()

    def write(self, folder: Path, *names: str) -> dict[str, str]:
        """Write a pair to files; returns a listener's ``tls`` section."""
        chain, key = self.issue(*names)
        (folder / "own.crt").write_text(chain)
        (folder / "own.key").write_text(key)
        return {"cert_path": str(folder / "own.crt"), "key_path": str(folder / "own.key")}

    def ssl(self, *names: str, **more: Any) -> dict[str, Any]:
        """Return an ``ssls`` document."""
        cert, key = self.issue(*names)
        return {"snis": list(names), "cert": cert, "key": key, **more}

    def client(
        self, identity: trustme.LeafCert | None = None, version: ssl.TLSVersion | None = None
    ) -> ssl.SSLContext:
        """Return a context that trusts the CA, whatever name is shown."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        context.check_hostname = False
        if identity is not None:
            identity.configure_cert(context)
        if version is not None:
            context.maximum_version = version
        return context


@dataclass
class Seen:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: str


class Connection:
    """One TLS connection to 127.0.0.1, on which requests are sent one after another."""

    def __init__(
        self,
        context: ssl.SSLContext,
        port: int,
        name: str | None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        raw = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        try:
            self.socket = context.wrap_socket(raw, server_hostname=name, session=session)
        except BaseException:
            raw.close()
            raise
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        self._http.sock = self.socket
        self._name = name

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self.socket.close()

    @property
    def names(self) -> set[str]:
        """Names in the certificate that was shown."""
        shown: Any = self.socket.getpeercert()
        return {value for _, value in shown["subjectAltName"]}

    def get(self, path: str = "/", host: str | None = None, **headers: str) -> Seen:
        host = host or self._name or "127.0.0.1"
        self._http.request("GET", path, headers={"host": host, **headers})
        answer = self._http.getresponse()
        found = {key.lower(): value for key, value in answer.getheaders()}
        return Seen(answer.status, found, answer.read().decode())


def names_shown(context: ssl.SSLContext, port: int, name: str | None) -> set[str]:
    """Return the names in the certificate a listener shows for ``name``."""
    with Connection(context, port, name) as connection:
        return connection.names
