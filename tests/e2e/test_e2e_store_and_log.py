"""The Admin API without a named store, and the log in a file."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

from support.processes import free_port, gateway, get, wait_until


def put(port: int, path: str, document: object) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/apisix/admin/{path}",
        data=json.dumps(document).encode(),
        headers={"x-api-key": "secret"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)


def settings(tmp_path: Path, **more: object) -> tuple[Path, int, int]:
    port, admin = free_port(), free_port()
    document = {
        "pingsix": {
            "listeners": [{"address": f"127.0.0.1:{port}"}],
            "admin": {"address": f"127.0.0.1:{admin}", "api_key": "secret"},
            **more.pop("pingsix", {}),  # type: ignore[dict-item]
        },
        **more,
    }
    path = tmp_path / "gateway.yaml"
    path.write_text(json.dumps(document))
    return path, port, admin


def test_admin_without_a_store_keeps_what_it_is_told_in_the_working_directory(
    tmp_path: Path,
) -> None:
    path, port, admin = settings(tmp_path)
    route = {"uri": "/x", "plugins": {"mocking": {"response_example": "hi"}}}
    with gateway("run", "-c", str(path), cwd=tmp_path) as process:
        process.wait_for_port(admin)
        assert put(admin, "routes/1", route) == 201
        wait_until(lambda: get(port, "/x")[0] == 200, "the route is live")
    assert (tmp_path / "pingsix.db").exists()
    with gateway("run", "-c", str(path), cwd=tmp_path) as process:
        process.wait_for_port(port)
        wait_until(lambda: get(port, "/x")[2].strip() == "hi", "the route outlived the gateway")


def test_resources_in_the_file_switch_the_admin_api_off(tmp_path: Path) -> None:
    routes = [{"id": "1", "uri": "/x", "plugins": {"mocking": {"response_example": "hi"}}}]
    path, port, _ = settings(tmp_path, routes=routes)
    with gateway("run", "-c", str(path), cwd=tmp_path) as process:
        process.wait_for_port(port)
        assert get(port, "/x")[0] == 200
        process.wait_for_text("the Admin API is off")
    assert not (tmp_path / "pingsix.db").exists()


def test_the_log_goes_to_its_file_and_is_rotated(tmp_path: Path) -> None:
    log = {"path": str(tmp_path / "logs" / "gateway.log"), "max_size_bytes": 100, "max_backups": 2}
    path, port, _ = settings(tmp_path, pingsix={"log": log})
    with gateway("run", "-c", str(path), cwd=tmp_path) as process:
        process.wait_for_port(port)
        assert get(port, "/")[0] == 404
        assert process.stderr == ""
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    names = sorted(file.name for file in (tmp_path / "logs").iterdir())
    assert names[0] == "gateway.log"
    assert 1 < len(names) <= 3
    text = "".join(file.read_text() for file in (tmp_path / "logs").iterdir())
    assert "stopped" in text


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path, _, _ = settings(tmp_path, pingsix={"log": {"path": str(tmp_path / "gateway.yaml" / "x")}})
    with gateway("run", "-c", str(path), cwd=tmp_path) as process:
        assert process.wait() == 1
        assert process.stderr.count("\n") == 1
        assert "cannot write" in process.stderr
