"""A transport that sends in one system call what is written in one step of the event loop.

uvicorn writes the head of a response and its body one after the other, and uvloop sends each at
once: for a small answer the second call costs as much as everything the gateway does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_HELD_BYTES: Final = 64 * 1024
"""What is larger is sent at once: one more system call is nothing to it."""


class JoiningTransport:
    """Stands before a transport; all that has nothing to do with writing is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Hold ``data`` for what follows it, but not beyond this step of the event loop."""
        held = self._held
        if not data:
            return
        if not held:
            self._call_soon(self.flush)
        held.append(data)
        if len(data) > _HELD_BYTES:
            self.flush()

    def writelines(self, pieces: Iterable[bytes]) -> None:
        """Write all pieces."""
        self.write(b"".join(pieces))

    def flush(self) -> None:
        """Send what is held."""
        held = self._held
        if held:
            self._held = []
            self._transport.write(b"".join(held))

    def write_eof(self) -> None:
        """Send what is held, then say that no more comes."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held, then close in order."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held.clear()
        self._transport.abort()


class Joining:
    """Mixin of uvicorn's HTTP/1.1 protocols: gives their requests a joining transport."""

    transport: Any
    loop: asyncio.AbstractEventLoop

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin; answers are written through a transport of ours."""
        super().connection_made(transport)  # type: ignore[misc]  # the protocol's own
        self.transport = JoiningTransport(transport, self.loop)
