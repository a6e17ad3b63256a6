"""Sockets are bound before anything else starts, so a busy port is one clear error line."""

from __future__ import annotations

import socket

from ..errors import PingSIXError

BACKLOG = 2048
"""Connections the kernel keeps waiting; it lowers the figure to net.core.somaxconn by itself."""


class StartupError(PingSIXError):
    """The process cannot start for a reason outside the configuration, such as a busy port."""


def parse_address(address: str) -> tuple[str, int]:
    """Split "127.0.0.1:9080", "[::1]:9080" or "localhost:9080". Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f'"{address}" is not an address: expected host:port')
    return host.strip("[]"), int(port)


def format_address(host: str, port: int) -> str:
    """Join host and port; an IPv6 host gets its brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket, inheritable by worker processes.

    Port 0 takes a free port. Raises StartupError when the address is busy, absent or forbidden.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "[::]" serves IPv4 clients too, as one listener of nginx and Pingora does not, but as
            # every Kubernetes dual-stack probe expects.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        raise StartupError(f"cannot listen on {format_address(host, port)}: {reason}") from error
    sock.setblocking(False)
    sock.set_inheritable(True)
    return sock


def adopt(fd: int) -> socket.socket:
    """Return the socket behind a descriptor that the parent process handed over."""
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


def address_of(sock: socket.socket) -> str:
    """Return the bound address; with port 0 this is the port that was chosen."""
    host, port = sock.getsockname()[:2]
    return format_address(host, port)
