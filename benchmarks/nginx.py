"""nginx as the measured proxy and as the upstream that answers 36 bytes."""

from __future__ import annotations

from pathlib import Path

BODY = "0123456789abcdefghijklmnopqrstuvwxyz"

_COMMON = """
daemon off; master_process off; worker_processes 1; pid {here}/nginx.pid;
error_log {here}/error.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/f;
    uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
"""
_UPSTREAM = """
    server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "{body}"; }} }}
}}
"""
_PROXY = """
    upstream node {{
        server {upstream};
        keepalive 128; keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://node;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_request_buffering off;
        }}
    }}
}}
"""


def upstream_command(folder: Path, port: int) -> list[str]:
    return _command(folder, _COMMON + _UPSTREAM, port=port, body=BODY)


def proxy_command(folder: Path, port: int, upstream: str) -> list[str]:
    return _command(folder, _COMMON + _PROXY, port=port, upstream=upstream)


def _command(folder: Path, template: str, **values: object) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "nginx.conf"
    conf.write_text(template.format(here=folder, **values))
    return ["nginx", "-p", str(folder), "-c", str(conf), "-e", str(folder / "error.log")]
