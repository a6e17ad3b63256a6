"""What response phases see and edit: status and headers of the response under way."""

from __future__ import annotations

from .headers import Headers
from .response import BODILESS


class ResponseHead:
    """Status and headers of the response under way, for the response phases."""

    __slots__ = ("from_upstream", "headers", "lost_body", "status")

    def __init__(self, status: int, headers: Headers, from_upstream: bool) -> None:
        self.status = status
        self.headers = headers
        self.from_upstream = from_upstream
        self.lost_body = False
        """A plugin gave the response a status that allows no body, but one is on its way."""

    def body_modified(self) -> None:
        """Drop the headers that describe the body as it was; call it before changing the body."""
        self.headers.remove(b"content-length", b"content-encoding", b"etag", b"last-modified")

    def change_from(self, status: int) -> None:
        """Make the body fit a status that is no longer ``status``: some allow none."""
        if self.status in BODILESS and status not in BODILESS:
            self.lost_body = True
            self.headers.remove(b"content-length", b"content-encoding", b"transfer-encoding")


NO_RESPONSE = ResponseHead(0, Headers([]), from_upstream=False)
