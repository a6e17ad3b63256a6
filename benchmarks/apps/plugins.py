"""One route per plugin, ``/NAME/…``, and ``/none/…`` without any, all in one process."""

from __future__ import annotations

from typing import Any

from pingsix_asgi import PingSIX

from . import UPSTREAM_HOST, UPSTREAM_PORT

MANY = 1_000_000_000
PLUGINS: dict[str, dict[str, Any]] = {
    "request-id": {},
    "cors": {"allow_origins": "https://shop.example"},
    "ip-restriction": {"whitelist": ["127.0.0.0/8"]},
    "key-auth": {"header": "accept-encoding", "key": "gzip"},  # a header that the load has
    "limit-count": {"count": MANY, "time_window": 60, "key": "remote_addr"},
    "limit-req": {"rate": MANY, "burst": 0, "key": "remote_addr"},
    "limit-conn": {"conn": MANY, "burst": 0, "default_conn_delay": 1, "key": "remote_addr"},
    "proxy-rewrite": {"uri": "/other", "headers": {"set": {"X-Api": "2"}}},
    "response-rewrite": {"headers": {"set": {"X-Api": "2"}}},
    "prometheus": {},
    "gzip": {"types": ["application/json"], "min_length": 500},
    "echo": {"after_body": "x"},
}
app = PingSIX(
    config={
        "upstreams": [{"id": "u", "nodes": {f"{UPSTREAM_HOST}:{UPSTREAM_PORT}": 1}}],
        "routes": [
            {
                "id": name,
                "uri": f"/{name}/*",
                "upstream_id": "u",
                "plugins": {} if name == "none" else {name: PLUGINS[name]},
            }
            for name in ("none", *PLUGINS)
        ],
    }
)
