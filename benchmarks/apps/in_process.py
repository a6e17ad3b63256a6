"""A FastAPI service by itself, under five conventional middlewares, and under PingSIX.

BENCH_STACK is "bare", "middlewares" or "pingsix"; the last two do the same five things: a request
limit per client, CORS, gzip, a correlation id and Prometheus metrics.
"""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI

LIMIT = 1_000_000_000
ORIGIN = "https://shop.example"


def bare() -> FastAPI:
    app = FastAPI()

    @app.get("/hello")
    async def hello() -> dict[str, str]:
        return {"message": "hello from a fastapi service"}

    return app


def with_middlewares() -> FastAPI:
    from asgi_correlation_id import CorrelationIdMiddleware
    from fastapi.middleware.cors import CORSMiddleware
    from fastapi.middleware.gzip import GZipMiddleware
    from prometheus_fastapi_instrumentator import Instrumentator
    from slowapi import Limiter
    from slowapi.middleware import SlowAPIASGIMiddleware
    from slowapi.util import get_remote_address

    app = bare()
    app.state.limiter = Limiter(
        key_func=get_remote_address, default_limits=[f"{LIMIT}/minute"], headers_enabled=True
    )
    app.add_middleware(SlowAPIASGIMiddleware)
    app.add_middleware(CORSMiddleware, allow_origins=[ORIGIN])
    app.add_middleware(GZipMiddleware, minimum_size=500)
    app.add_middleware(CorrelationIdMiddleware)
    Instrumentator().instrument(app)
    return app


def with_pingsix() -> Any:
    from pingsix_asgi import PingSIX

    plugins = {
        "request-id": {},
        "cors": {"allow_origins": ORIGIN},
        "limit-count": {"count": LIMIT, "time_window": 60, "key": "remote_addr"},
        "gzip": {"types": ["application/json"], "min_length": 500},
        "prometheus": {},
    }
    return PingSIX(bare(), config={"routes": [{"id": "all", "uri": "/*", "plugins": plugins}]})


STACKS = {"bare": bare, "middlewares": with_middlewares, "pingsix": with_pingsix}
app = STACKS[os.environ.get("BENCH_STACK", "bare")]()
