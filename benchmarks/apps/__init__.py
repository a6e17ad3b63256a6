"""The applications that are measured, one per file; each reads BENCH_UPSTREAM (host:port)."""

import os

UPSTREAM_HOST, _, _port = os.environ.get("BENCH_UPSTREAM", "127.0.0.1:8000").rpartition(":")
UPSTREAM_PORT = int(_port)
