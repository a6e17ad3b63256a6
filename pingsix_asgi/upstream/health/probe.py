"""One probe of one node: what it asks, and what the answer means."""

from __future__ import annotations

import asyncio
import ssl
import tempfile

import httpx2

from ..node import Node, TLSOptions
from .check import Check
from .status import Outcome

USER_AGENT = "pingsix-asgi (health check)"


class Prober:
    """Sends the probes of one check, each on a new connection. Shared by nodes."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._transport: httpx2.AsyncHTTPTransport | None = None

    async def probe(self, node: Node) -> Outcome | None:
        """Return what happened; None when the status is in neither list of the check."""
        check = self._check
        try:
            async with asyncio.timeout(check.timeout_s):
                if check.type == "tcp":
                    return await self._connect(node)
                return self._judge(await self._status(node))
        except (TimeoutError, httpx2.TimeoutException):
            return "timeout_failure"
        except httpx2.ProtocolError as error:
            return "tcp_failure" if _closed_early(error) else "http_failure"
        except (httpx2.TransportError, OSError):
            return "tcp_failure"

    async def _connect(self, node: Node) -> Outcome:
        _, writer = await asyncio.open_connection(node.address, self._check.port or node.port)
        writer.close()
        return "success"

    async def _status(self, node: Node) -> int:
        if self._transport is None:
            self._transport = await _open_transport(self._check.tls)
        response = await self._transport.handle_async_request(self._request(node))
        await response.aclose()  # the status is enough: a body of any size is not read
        return response.status_code

    def _judge(self, status: int) -> Outcome | None:
        if status in self._check.healthy_statuses:
            return "success"
        return "http_failure" if status in self._check.unhealthy_statuses else None

    def _request(self, node: Node) -> httpx2.Request:
        check = self._check
        host = check.host_of(node)
        address = f"[{node.address}]" if ":" in node.address else node.address
        headers = {"host": host, "connection": "close", "user-agent": USER_AGENT}
        for line in check.headers:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return httpx2.Request(
            check.method,
            f"{check.type}://{address}:{check.port or node.port}{check.path}",
            headers=headers,
            content=check.body.encode() or None,
            extensions={"sni_hostname": host},
        )


async def _open_transport(tls: TLSOptions | None) -> httpx2.AsyncHTTPTransport:
    # reading the system's authorities takes tens of milliseconds
    context = await asyncio.to_thread(_context, tls) if tls is not None else False
    return httpx2.AsyncHTTPTransport(
        verify=context, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0)
    )


def _context(tls: TLSOptions) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_file) if tls.verify else _unverified()
    if tls.client_cert and tls.client_key:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:  # ssl reads files only
            pair.write(f"{tls.client_cert}\n{tls.client_key}\n")
            pair.flush()
            context.load_cert_chain(pair.name)
    return context


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _closed_early(error: httpx2.ProtocolError) -> bool:
    """Tell a connection that was closed without an answer from an answer that is no HTTP."""
    return "disconnected without sending" in str(error)
