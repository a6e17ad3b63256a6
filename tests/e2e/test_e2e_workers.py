"""Several worker processes under one supervisor."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import Process, accepts, free_port, get, wait_until
from support.sidecar import Files, Service


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.running() as service:
        yield service


@pytest.fixture
def files(tmp_path: Path, service: Service) -> Files:
    return Files(tmp_path, service)


def children(process: Process) -> set[int]:
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return {int(pid) for pid in task.read_text().split()}


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" not in status.read_text()
    except OSError:
        return False


def ready(process: Process, count: int) -> bool:
    return process.stderr.count("pingsix_asgi.serving: ready") >= count


def test_both_workers_serve_and_drain(files: Files, service: Service) -> None:
    answers: list[int] = []
    with files.running("--workers", "2") as process:
        process.wait_for(lambda: ready(process, 2), "two workers")
        workers = children(process)
        assert len(workers) == 2
        clients = [
            threading.Thread(target=lambda: answers.append(get(files.port, "/slow")[0]))
            for _ in range(8)
        ]
        for client in clients:
            client.start()
        service.wait_for_slow(8)
        process.send(signal.SIGTERM)
        wait_until(lambda: not accepts(files.port), "no more connections")
        for client in clients:
            client.join()
        assert process.wait() == 0
    assert answers == [200] * 8
    assert not any(is_alive(pid) for pid in workers)


def test_a_crashed_worker_is_replaced_while_the_other_serves(files: Files) -> None:
    with files.running("--workers", "2") as process:
        process.wait_for(lambda: ready(process, 2), "two workers")
        victim, survivor = sorted(children(process))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not is_alive(victim), "the victim is gone")
        for _ in range(10):
            assert get(files.port, "/")[0] == 200
        process.wait_for(lambda: ready(process, 3), "a new worker")
        assert victim not in children(process)
        assert survivor in children(process)
        process.send(signal.SIGTERM)
        assert process.wait() == 0


def test_every_worker_follows_the_file(files: Files) -> None:
    with files.running("--workers", "2") as process:
        process.wait_for(lambda: ready(process, 2), "two workers")
        files.write(routes=[{"id": "1", "uri": "/new", "plugins": {"echo": {"body": "hello"}}}])
        wait_until(
            lambda: all(get(files.port, "/new")[2] == "hello" for _ in range(20)), "both changed"
        )


def test_limits_count_for_the_machine_and_metrics_for_all_workers(files: Files) -> None:
    limit = {"count": 10, "time_window": 600, "rejected_code": 429, "policy": "local"}
    files.write(
        routes=[
            {**files.document["routes"][0], "plugins": {"limit-count": limit, "prometheus": {}}}
        ]
    )
    with files.running("--workers", "2") as process:
        process.wait_for(lambda: ready(process, 2), "two workers")
        statuses = [get(files.port, "/")[0] for _ in range(40)]
        assert statuses.count(200) == 10
        pages = {get(files.metrics, "/metrics")[2] for _ in range(10)}
        for page in pages:
            counts = [
                float(line.rpartition(" ")[2])
                for line in page.splitlines()
                if line.startswith("apisix_http_status{")
            ]
            assert sum(counts) == 40


def test_workers_end_with_a_killed_parent(files: Files) -> None:
    with files.running("--workers", "2") as process:
        process.wait_for(lambda: ready(process, 2), "two workers")
        workers = children(process)
        process.send(signal.SIGKILL)
        process.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in workers), "workers are gone")
    assert not accepts(files.port)


def test_ctrl_c_ends_all_at_once(files: Files) -> None:
    with files.running("--workers", "2") as process:
        process.wait_for(lambda: ready(process, 2), "two workers")
        process.send(signal.SIGINT)
        assert process.wait() == 0


def test_a_bad_configuration_is_told_once(files: Files) -> None:
    files.write(routes=[{"id": "1", "uri": 5}])
    with files.run("--workers", "2") as process:
        assert process.wait() == 1
        assert process.stderr.count("routes/1") == 1


def test_status_reports_the_configuration_of_any_worker(files: Files) -> None:
    with files.running("--workers", "2"):
        reports = [files.report() for _ in range(10)]
        assert all(report["counts"] == {"routes": 1} for report in reports)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_admin_api_beside_the_gateway(files: Files, workers: str) -> None:
    admin = free_port()
    files.set(
        admin={"address": f"127.0.0.1:{admin}", "api_key": "secret"},
        store=f"sqlite:///{files.path.with_name('store.db')}",
    )
    route = {"uri": "/new", "plugins": {"echo": {"body": "hello"}}}
    with files.running("--workers", workers) as process:
        process.wait_for(lambda: ready(process, int(workers)), "all workers")
        assert get(files.port, "/new")[0] == 404
        url = "/apisix/admin/routes/1"
        status, _, body = get(admin, url, {"X-API-KEY": "secret"}, "PUT", json.dumps(route))
        assert status == 201, body
        wait_until(
            lambda: all(get(files.port, "/new")[2] == "hello" for _ in range(20)), "all changed"
        )
        assert get(admin, url)[0] == 401
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        assert "Traceback" not in process.stderr


def test_workers_of_a_killed_parent_finish_what_is_under_way(
    files: Files, service: Service
) -> None:
    answers: list[int] = []
    with files.running("--workers", "2") as process:
        process.wait_for(lambda: ready(process, 2), "two workers")
        workers = children(process)
        client = threading.Thread(target=lambda: answers.append(get(files.port, "/slow")[0]))
        client.start()
        service.wait_for_slow(1)
        process.send(signal.SIGKILL)
        client.join()
        wait_until(lambda: not any(is_alive(pid) for pid in workers), "workers are gone")
    assert answers == [200]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hang_up_drains(files: Files, service: Service, workers: str) -> None:
    answers: list[int] = []
    with files.running("--workers", workers) as process:
        process.wait_for(lambda: ready(process, int(workers)), "all workers")
        client = threading.Thread(target=lambda: answers.append(get(files.port, "/slow")[0]))
        client.start()
        service.wait_for_slow(1)
        process.send(signal.SIGHUP)
        client.join()
        assert process.wait() == 0
    assert answers == [200]
