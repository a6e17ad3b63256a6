"""HTTP/2 on the gateway's own listeners, with and without TLS, with and without bodies."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support.processes import free_port, gateway
from support.sidecar import Service


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.running() as service:
        yield service


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("server", ["uvicorn", "granian"])
def test_requests_of_every_kind_over_http2(server: str, service: Service, tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("localhost", "127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(str(key))
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    plain, secure = free_port(), free_port()
    tls = {"cert_path": str(cert), "key_path": str(key)}
    document = {
        "pingsix": {
            "listeners": [
                {"address": f"127.0.0.1:{plain}", "offer_h2c": True},
                {"address": f"127.0.0.1:{secure}", "offer_h2": True, "tls": tls},
            ]
        },
        "routes": [
            {"id": "1", "uri": "/*", "upstream": {"nodes": {f"127.0.0.1:{service.server_port}": 1}}}
        ],
    }
    config = tmp_path / "gateway.yaml"
    config.write_text(json.dumps(document))
    with gateway("run", "-c", str(config), "--server", server) as process:
        process.wait_for_port(secure)
        for base in (
            ["--http2-prior-knowledge", f"http://127.0.0.1:{plain}"],
            ["-k", "--http2", f"https://127.0.0.1:{secure}"],
        ):
            assert asked(base) == "2 200"
            for options in (["-I"], ["-X", "DELETE"], ["-X", "POST"], ["-d", "abc"]):
                assert asked([*options, *base]) == "2 501", "the service only knows GET"
        assert asked([f"http://127.0.0.1:{plain}"]) == "1.1 200"


def asked(options: list[str]) -> str:
    """Return "version status" of what curl got within 10 s."""
    form = ["curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
    return subprocess.run([*form, *options], capture_output=True, text=True, timeout=20).stdout
