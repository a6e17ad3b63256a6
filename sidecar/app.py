"""The gateway as an ASGI app, for a server of your own choice.

    uvicorn --app-dir sidecar app:app
    granian --interface asgi --working-dir sidecar app:app
    cd sidecar && hypercorn app:app

Everything comes from the environment: PINGSIX_CONFIG_FILE, PINGSIX_CONFIG, or PINGSIX_UPSTREAM for
a single service. The server owns sockets, TLS, workers and signals; `pingsix-asgi run` owns them
itself and adds the status, metrics and Admin API listeners.
"""

from pingsix_asgi import PingSIX

app = PingSIX.from_env()
