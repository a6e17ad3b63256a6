"""What the target answers, on its way to the client and to the store.

It stands around the target, inside all response phases: what is stored is what the target said,
and a stored response passes the same phases when it is sent. So nothing that a plugin wrote for one
request, such as its id, is ever sent to another.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ..context import Context
from ..http.headers import Headers, lower_case
from ..http.response import Response
from ..types import Message, Send
from .answer import answer, not_modified, unchanged
from .directives import Directives
from .flights import Flight
from .policy import Policy, renewed
from .store import Entry


class Lookup:
    """What one request found in the cache and does about it."""

    __slots__ = ("conditions", "flight", "is_personal", "key", "lags", "stale", "status", "wanted")

    def __init__(self, wanted: Directives, conditions: Headers) -> None:
        self.wanted = wanted
        """The client's Cache-Control."""
        self.conditions = conditions
        """The headers that were looked up with, the client's If-* and Range among them."""
        self.key: str | None = None
        """None where the cache is left alone."""
        self.status = ""
        """What the client is told; "" for nothing."""
        self.is_personal = False
        """The answer is not for others unless the origin says so."""
        self.stale: Entry | None = None
        """What the origin is asked about: a 304 is about this."""
        self.lags = False
        """The client gets ``stale`` at once, and it is renewed afterwards."""
        self.flight: Flight | None = None
        """Others wait for this fetch."""


class Fetch:
    """The send of one request that goes to the target; ``entry`` is there when it is to be saved.

    ``is_whole`` says that the response came to its end.
    """

    def __init__(
        self, policy: Policy, lookup: Lookup, ctx: Context, send: Send, now: Callable[[], float]
    ) -> None:
        self.status = 0
        """Of the target's answer; 0 while there is none."""
        self.headers = Headers([])
        self.entry: Entry | None = None
        self.is_whole = False
        self._policy = policy
        self._lookup = lookup
        self._ctx = ctx
        self._send = send
        self._now = now
        self._body = bytearray()
        self._is_replaced = False

    async def send(self, message: Message) -> None:
        """Take one ASGI message of the target."""
        kind = message["type"]
        if kind == "http.response.start":
            await self._start(message)
        elif kind == "http.response.body":
            self._take(message.get("body", b""), is_last=not message.get("more_body", False))
            if not self._is_replaced:
                await self._pass_on(message)
        else:
            if kind == "http.response.pathsend" or kind == "http.response.zerocopysend":
                self._give_up()
            if not self._is_replaced:
                await self._send(message)

    async def stand_in(self) -> bool:
        """Send the stale response in place of a failure, if that is allowed."""
        stale = self._lookup.stale
        if stale is None or not self._policy.may_serve_on_error(stale, self._now()):
            return False
        self._lookup.status = "STALE"
        await self._replace(stale)
        return True

    async def answer_stale(self) -> None:
        """Send the stale response; the target is not asked for this client."""
        if self._lookup.stale is not None:
            self._lookup.status = "STALE"
            await self._replace(self._lookup.stale)

    async def _pass_on(self, message: Message) -> None:
        """Send a piece of the body; who waits for this fetch sees how long the client takes."""
        flight = self._lookup.flight
        if flight is None:
            await self._send(message)
            return
        flight.sending_since = monotonic()
        await self._send(message)
        flight.sending_since = None

    async def _start(self, message: Message) -> None:
        status, headers = message["status"], Headers(lower_case(message.get("headers", ())))
        self.status, self.headers = status, headers
        lookup = self._lookup
        if status == 304 and lookup.stale is not None:
            self._give_up()
            await self._replace(self._renew(lookup.stale))
        elif status >= 500 and await self.stand_in():
            self._give_up()
        else:
            self._consider(status, headers, has_trailers=message.get("trailers", False))
            if status == 200 and lookup.stale and not_modified(lookup.conditions, headers):
                # The origin was asked about our response, but the new one is what the client has.
                await self._replace_by(Response(304, b"", unchanged(headers.raw)))
            else:
                await self._send(message)

    def _consider(self, status: int, headers: Headers, *, has_trailers: bool) -> None:
        """Decide whether to keep the answer; those who wait are let go at once if not."""
        is_usable = self._ctx.request.method != "HEAD" and not has_trailers
        if is_usable and self._lookup.key is not None:
            self.entry = self._entry(status, headers)
        if self.entry is None:
            self._give_up()

    def _renew(self, stale: Entry) -> Entry:
        """The origin confirmed the stale response: freshen it (RFC 9111 §4.3.4)."""
        self._lookup.status = "REVALIDATED"
        headers = Headers(renewed(stale, self.headers))
        entry = self._entry(stale.status, headers)
        if entry is None:
            return Entry(stale.status, headers.raw, stale.body, self._now(), 0.0, 0.0)
        entry.body = stale.body
        self.entry, self.is_whole = entry, True
        return entry

    def _entry(self, status: int, headers: Headers) -> Entry | None:
        lookup = self._lookup
        return self._policy.entry(
            status, headers, lookup.conditions, self._now(), is_personal=lookup.is_personal
        )

    async def _replace(self, entry: Entry) -> None:
        request, conditions = self._ctx.request, self._lookup.conditions
        await self._replace_by(answer(entry, request, conditions, self._now()))

    async def _replace_by(self, reply: Response) -> None:
        """Send a reply; what the target has still to say goes nowhere but to the store."""
        self._is_replaced = True
        headers, body = list(reply.headers), reply.body
        if reply.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        if self._ctx.request.method == "HEAD":
            body = b""
        start = {"type": "http.response.start", "status": reply.status, "headers": headers}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    def _take(self, chunk: bytes, *, is_last: bool) -> None:
        if self.entry is None or self.is_whole:
            return
        self._body += chunk
        if self._policy.max_bytes and len(self._body) >= self._policy.max_bytes:
            self._give_up()
        elif is_last:
            length = self.headers.get(b"content-length")
            if length is not None and length != b"%d" % len(self._body):
                self._give_up()
            else:
                self.entry.body, self.is_whole = bytes(self._body), True

    def _give_up(self) -> None:
        self.entry = None
        self._body = bytearray()
        if self._lookup.flight is not None:
            self._lookup.flight.land()
