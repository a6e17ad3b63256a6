"""Move one large body through a proxy with a plain blocking socket, and time it."""

from __future__ import annotations

import socket
import time

BLOCK = bytes(256 * 1024)
TIMEOUT_S = 60.0


def download(port: int, size: int) -> float:
    """Return MB/s of a response of ``size`` bytes."""
    with _connect(port) as connection:
        began = time.perf_counter()
        connection.sendall(b"GET /%d HTTP/1.1\r\nhost: bench\r\n\r\n" % size)
        head, rest = _read_head(connection)
        if b"content-length: %d" % size not in head.lower():
            raise RuntimeError(f"unexpected answer: {head[:200]!r}")
        left = size - len(rest)
        buffer = bytearray(1024 * 1024)
        while left:
            got = connection.recv_into(buffer)
            if not got:
                raise RuntimeError(f"body ended {left} bytes early")
            left -= got
        return size / 1e6 / (time.perf_counter() - began)


def upload(port: int, size: int) -> float:
    """Return MB/s of a request body of ``size`` bytes, until its answer."""
    with _connect(port) as connection:
        began = time.perf_counter()
        connection.sendall(
            b"POST /upload HTTP/1.1\r\nhost: bench\r\ncontent-length: %d\r\n\r\n" % size
        )
        left = size
        while left:
            block = BLOCK[:left]
            connection.sendall(block)
            left -= len(block)
        head, body = _read_head(connection)
        while not body:
            body = connection.recv(65536)
        if b" 200 " not in head or str(size).encode() not in body:
            raise RuntimeError(f"unexpected answer: {head[:200]!r} {body[:100]!r}")
        return size / 1e6 / (time.perf_counter() - began)


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)


def _read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            raise RuntimeError(f"connection closed after {received[:200]!r}")
        received += more
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest
