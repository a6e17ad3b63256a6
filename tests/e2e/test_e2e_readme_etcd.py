"""The README's section on many gateways, run as it stands but for its ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.consoles import parse, shown, without_times
from support.processes import free_port

ROOT = Path(__file__).parents[2]
PORTS = (2379, 8000, 9080, 9081, 9180, 9181, 7085)


@pytest.fixture
def section() -> tuple[str, dict[str, str]]:
    """The section, and the environment its commands need, with ports of our own in both."""
    readme = (ROOT / "README.md").read_text()
    text = readme.partition("## Many gateways")[2].partition("\n## ")[0]
    ports = {port: free_port() for port in PORTS}
    for port, own in ports.items():
        text = re.sub(rf"\b{port}\b", str(own), text)
    client = f"http://127.0.0.1:{ports[2379]}"
    peer = f"http://127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ETCD_LISTEN_CLIENT_URLS": client,
        "ETCD_ADVERTISE_CLIENT_URLS": client,
        "ETCD_LISTEN_PEER_URLS": peer,
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": peer,
        "ETCD_INITIAL_CLUSTER": f"default={peer}",
    }
    return text.replace(f"port {ports[8000]}, an etcd", ""), environment


@pytest.fixture
def servers(section: tuple[str, dict[str, str]], tmp_path: Path) -> Iterator[None]:
    text, environment = section
    commands = re.search(r"```bash\n(.*?)```", text, re.DOTALL)
    assert commands is not None
    started = subprocess.Popen(
        ["bash", "-c", commands[1] + "wait"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for url in set(re.findall(r"http://127\.0\.0\.1:\d+/", text)):
            wait_for(url)
        yield
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(timeout=20)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing answers at {url}"
            time.sleep(0.05)


def test_what_the_readme_shows_is_what_happens(
    section: tuple[str, dict[str, str]], servers: None
) -> None:
    text, environment = section
    console = re.search(r"```console\n(.*?)```", text, re.DOTALL)
    assert console is not None
    steps = parse(console[1])
    assert len(steps) == 5
    for command, expected in steps:
        assert shown(command, environment, expected) == without_times(expected)
