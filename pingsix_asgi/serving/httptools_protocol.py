"""uvicorn's httptools protocol, with answers that are written in one go."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .joining_transport import Joining


class JoiningHttpToolsProtocol(Joining, HttpToolsProtocol):  # type: ignore[misc]  # asyncio has it wider
    """HTTP/1.1."""
