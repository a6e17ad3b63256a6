"""Run the public HTTP cache tests around our cache and around nginx's, and print both scores.

Needs node and npm, and nginx for the comparison. The tests (npm package http-cache-tests) drive a
real origin and a real client around each proxy; each test is of kind required (RFC 9111 MUST),
optimal (better caching) or check (behaviour worth knowing). Those on Surrogate-Control, which is
not HTTP, are left out, as on the suite's pages. nginx runs with the suite's own configuration.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PACKAGE = "http-cache-tests@0.4.5"
ORIGIN, OURS, NGINX = 18100, 18101, 18102
LIMIT_S = 600

STATUSES = [
    *(200, 203, 204, 299, 300, 301, 302, 303, 307, 308),
    *(400, 404, 405, 410, 414, 499, 500, 501),
]
"""Kept for cache_ttl when the origin names no time, so without those that nobody should guess for.
Other statuses the tests would like to see kept, 502 and so on, they forbid to keep by a guess."""

GATEWAY = {
    "pingsix": {"listeners": [{"address": f"127.0.0.1:{OURS}"}]},
    "routes": [
        {
            "id": "cached",
            "uri": "/*",
            "upstream": {"nodes": {f"127.0.0.1:{ORIGIN}": 1}},
            "plugins": {
                "proxy-cache": {
                    "cache_strategy": "memory",
                    "cache_zone": "memory_cache",
                    "cache_control": True,
                    "cache_ttl": 1,
                    "cache_set_cookie": True,
                    "cache_http_status": STATUSES,
                }
            },
        }
    ],
}
NGINX_CONF = """
{user} worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ }}
http {{
  access_log off; proxy_cache_path {folder}/cache keys_zone=c:8m; proxy_temp_path {folder}/tmp;
  client_body_temp_path {folder}/body; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{origin}; proxy_cache c; proxy_cache_revalidate on;
    }}
  }}
}}
"""
_TESTS = """
import tests from './tests/index.mjs'
const found = {}
for (const suite of tests) for (const test of suite.tests)
  found[test.id] =
    { kind: test.kind || 'required', suite: suite.name, needs: test.depends_on || [] }
console.log(JSON.stringify(found))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failures", action="store_true", help="list what our cache fails")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder), arguments.failures)


def compare(folder: Path, show_failures: bool) -> int:
    subprocess.run(["npm", "install", "--silent", PACKAGE], cwd=folder, check=True, timeout=120)
    suite = folder / "node_modules" / "http-cache-tests"
    tests = json.loads(node(suite, ["--input-type=module", "-e", _TESTS]))
    environment = {**os.environ, "npm_config_protocol": "http", "npm_config_port": str(ORIGIN)}
    environment["npm_config_pidfile"] = str(folder / "origin.pid")
    proxies = {"PingSIX": (OURS, [*gateway_command(folder)])}
    if shutil.which("nginx"):
        proxies["nginx"] = (NGINX, [*nginx_command(folder)])
    processes = [
        subprocess.Popen(
            ["node", "server/server.mjs"], cwd=suite, env=environment, stdout=subprocess.DEVNULL
        )
    ]
    try:
        processes += [subprocess.Popen(command) for _, command in proxies.values()]
        wait_for([ORIGIN, *(port for port, _ in proxies.values())])
        for name, (port, _) in proxies.items():
            results = run(suite, port, tests)
            print_score(name, results, tests)
            if show_failures and name == "PingSIX":
                print_failures(results, tests)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=10)
    return 0


def gateway_command(folder: Path) -> list[str]:
    config = folder / "gateway.yaml"
    config.write_text(json.dumps(GATEWAY))
    return [sys.executable, "-m", "pingsix_asgi", "run", "-c", str(config)]


def nginx_command(folder: Path) -> list[str]:
    config = folder / "nginx.conf"
    user = "user root;" if os.getuid() == 0 else ""  # or its workers could not write here
    config.write_text(NGINX_CONF.format(user=user, folder=folder, port=NGINX, origin=ORIGIN))
    return ["nginx", "-c", str(config), "-e", str(folder / "error.log")]


def run(suite: Path, port: int, tests: dict[str, Any]) -> dict[str, Any]:
    environment = {"npm_config_base": f"http://127.0.0.1:{port}", "npm_package_config_id": ""}
    text = node(suite, ["--no-warnings", "cli.mjs"], environment)
    found: dict[str, Any] = json.loads(text[text.index("{") :])
    return {test: result for test, result in found.items() if test in tests}


def node(suite: Path, arguments: list[str], environment: dict[str, str] | None = None) -> str:
    merged = {**os.environ, **(environment or {})}
    done = subprocess.run(
        ["node", *arguments],
        cwd=suite,
        env=merged,
        check=True,
        timeout=LIMIT_S,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def passes(test: str, results: dict[str, Any]) -> bool:
    return results.get(test) is True


def is_judged(test: str, results: dict[str, Any], tests: dict[str, Any]) -> bool:
    """A test says nothing when one it builds on fails: the suite's own pages leave it out then."""
    return all(
        passes(needed, results) and is_judged(needed, results, tests)
        for needed in tests[test]["needs"]
    )


def print_score(name: str, results: dict[str, Any], tests: dict[str, Any]) -> None:
    parts = []
    for kind in ("required", "optimal", "check"):
        these = [test for test in results if tests[test]["kind"] == kind]
        passed = sum(passes(test, results) for test in these)
        unjudged = sum(
            not passes(test, results) and not is_judged(test, results, tests) for test in these
        )
        parts.append(f"{kind} {passed}/{len(these)} ({unjudged} say nothing)")
    print(f"{name}: {', '.join(parts)}", flush=True)


def print_failures(results: dict[str, Any], tests: dict[str, Any]) -> None:
    for test, result in results.items():
        about = tests[test]
        if result is not True and about["kind"] != "check":
            mark = "" if is_judged(test, results, tests) else " (says nothing)"
            print(f"  {about['kind']:9} {about['suite']} / {test}: {result[1]}{mark}")


def wait_for(ports: list[int]) -> None:
    deadline = time.monotonic() + 20
    for port in ports:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2)
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"nothing answers on port {port}") from None
                time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
