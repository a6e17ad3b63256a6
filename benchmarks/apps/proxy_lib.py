"""fastapi-proxy-lib from the package index, mounted as its documentation shows."""

from __future__ import annotations

from fastapi_proxy_lib.fastapi.app import reverse_http_app

from . import UPSTREAM_HOST, UPSTREAM_PORT

app = reverse_http_app(base_url=f"http://{UPSTREAM_HOST}:{UPSTREAM_PORT}/")
