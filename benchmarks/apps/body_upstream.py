"""An upstream for large bodies: GET /<n> answers n bytes, any other method counts what it is sent.

Run as ``python -m benchmarks.apps.body_upstream PORT``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httptools

BLOCK = bytes(256 * 1024)


class Upstream(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.target = b""
        self.received = 0
        self.left = 0

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.target = url

    def on_body(self, body: bytes) -> None:
        self.received += len(body)

    def on_message_complete(self) -> None:
        if self.parser.get_method() == b"GET":
            self.left = int(self.target.rpartition(b"/")[2] or 0)
            self.answer(self.left)
            self.resume_writing()
        else:
            text = b"%d" % self.received
            self.received = 0
            self.answer(len(text))
            self.transport.write(text)

    def answer(self, length: int) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length)
        self.paused = False

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        while self.left and not self.paused:
            block = BLOCK[: self.left]
            self.left -= len(block)
            self.transport.write(block)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1])))
