"""The same small service in every framework, to be wrapped by the gateway.

Each answers ``GET /hello`` with the framework's name, ``GET /seen`` with what its scope said,
``POST /echo`` with the body, ``GET /stream`` in pieces, and ``/boom`` with an exception.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any

import django
import litestar
import litestar.response
import quart
from asgiref.wsgi import WsgiToAsgi
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http import JsonResponse as DjangoJSON
from django.urls import path
from fastapi import FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PIECES = [b"one ", b"two ", b"three"]
STARTS: list[str] = []
"""What apps with a lifespan did, in order."""
GREETING: ContextVar[str] = ContextVar("greeting", default="nobody")


def fastapi_app() -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        STARTS.append("up")
        yield {"pool": "open"}
        STARTS.append("down")

    app = FastAPI(lifespan=lifespan)

    @app.get("/hello")
    async def hello() -> str:
        return "fastapi"

    @app.get("/seen")
    async def seen(request: Request) -> dict[str, Any]:
        return {
            "path": request.scope["path"],
            "root_path": request.scope["root_path"],
            "query": request.scope["query_string"].decode(),
            "client": request.client.host if request.client else None,
            "state": getattr(request.state, "pool", None),
            "greeting": GREETING.get(),
            "header": request.headers.get("x-added"),
        }

    @app.get("/url")
    async def url(request: Request) -> str:
        return str(request.url_for("hello"))

    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(PIECES), media_type="text/plain")

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("boom")

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="chat")
        while True:
            text = await websocket.receive_text()
            if text == "bye":
                await websocket.close(4001, "as you wish")
                return
            await websocket.send_text(text.upper())

    return app


def starlette_app() -> Any:
    async def hello(request: Request) -> Response:
        return JSONResponse("starlette")

    async def echo(request: Request) -> Response:
        return JSONResponse(len(await request.body()))

    async def stream(request: Request) -> Response:
        return StreamingResponse(iter(PIECES))

    async def boom(request: Request) -> Response:
        raise RuntimeError("boom")

    return Starlette(
        routes=[
            Route("/hello", hello),
            Route("/echo", echo, methods=["POST"]),
            Route("/stream", stream),
            Route("/boom", boom),
        ]
    )


def django_app() -> Any:
    async def hello(request: HttpRequest) -> DjangoJSON:
        return DjangoJSON("django", safe=False)

    def echo(request: HttpRequest) -> DjangoJSON:
        return DjangoJSON(len(request.body), safe=False)

    async def stream(request: HttpRequest) -> StreamingHttpResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in PIECES:
                yield piece

        return StreamingHttpResponse(pieces())

    async def boom(request: HttpRequest) -> DjangoJSON:
        raise RuntimeError("boom")

    def private(request: HttpRequest) -> HttpResponse:
        response = HttpResponse(f"visit {next(visits)}")
        response["Cache-Control"] = "private, no-store"
        return response

    def page(request: HttpRequest) -> HttpResponse:
        text = "<p>" + "hello " * 50
        return HttpResponse(text, headers={"Content-Length": str(len(text))})

    visits = count()
    urls = type("Urls", (), {})
    urls.urlpatterns = [  # type: ignore[attr-defined]
        path("hello", hello),
        path("echo", echo),
        path("stream", stream),
        path("boom", boom),
        path("private", private),
        path("page", page),
    ]
    if not settings.configured:
        settings.configure(
            SECRET_KEY="test", ALLOWED_HOSTS=["*"], MIDDLEWARE=[], ROOT_URLCONF=urls, LOGGING={}
        )
        django.setup(set_prefix=False)
    return ASGIHandler()


def litestar_app() -> Any:
    @litestar.get("/hello")
    async def hello() -> str:
        return '"litestar"'

    @litestar.post("/echo", status_code=200)
    async def echo(request: litestar.Request[Any, Any, Any]) -> int:
        return len(await request.body())

    @litestar.get("/stream")
    async def stream() -> litestar.response.Stream:
        return litestar.response.Stream(iter(PIECES))

    @litestar.get("/boom")
    async def boom() -> None:
        raise RuntimeError("boom")

    return litestar.Litestar([hello, echo, stream, boom], openapi_config=None)


def quart_app() -> Any:
    app = quart.Quart(__name__)

    @app.get("/hello")
    async def hello() -> str:
        return '"quart"'

    @app.post("/echo")
    async def echo() -> str:
        return str(len(await quart.request.get_data()))

    @app.get("/stream")
    async def stream() -> AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in PIECES:
                yield piece

        return pieces()

    @app.get("/boom")
    async def boom() -> str:
        raise RuntimeError("boom")

    return app


def wsgi_app() -> Any:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        path = environ["PATH_INFO"]
        if path == "/boom":
            raise RuntimeError("boom")
        start_response("200 OK", [("content-type", "text/plain")])
        if path == "/stream":
            yield from PIECES
        elif path == "/echo":
            yield str(len(environ["wsgi.input"].read())).encode()
        else:
            yield b'"wsgi"'

    return WsgiToAsgi(app)


FRAMEWORKS: dict[str, Callable[[], Any]] = {
    "fastapi": fastapi_app,
    "starlette": starlette_app,
    "django": django_app,
    "litestar": litestar_app,
    "quart": quart_app,
    "wsgi": wsgi_app,
}
