"""PingSIX as a reverse proxy: BENCH_PLUGINS=1 adds five plugins, BENCH_ROUTES=N gives N routes."""

from __future__ import annotations

import os
from typing import Any

from pingsix_asgi import PingSIX

from . import UPSTREAM_HOST, UPSTREAM_PORT

FIVE_PLUGINS: dict[str, dict[str, Any]] = {
    "request-id": {},
    "cors": {"allow_origins": "https://shop.example"},
    "ip-restriction": {"whitelist": ["127.0.0.0/8"]},
    "limit-count": {"count": 1_000_000_000, "time_window": 60, "key": "remote_addr"},
    "prometheus": {},
}


def routes(count: int, plugins: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one catch-all route, or ``count`` routes of three kinds on different paths."""
    if count == 0:
        return [{"id": "all", "uri": "/*", "upstream_id": "u", "plugins": plugins}]
    patterns = ("/r{}/items", "/r{}/items/{{id}}", "/r{}/*")
    return [
        {
            "id": str(number),
            "uri": patterns[number % len(patterns)].format(number),
            "upstream_id": "u",
            "plugins": plugins,
        }
        for number in range(count)
    ]


app = PingSIX(
    config={
        "upstreams": [{"id": "u", "nodes": {f"{UPSTREAM_HOST}:{UPSTREAM_PORT}": 1}}],
        "routes": routes(
            int(os.environ.get("BENCH_ROUTES", "0")),
            FIVE_PLUGINS if os.environ.get("BENCH_PLUGINS") else {},
        ),
    }
)
