"""A configuration file that changes under a running gateway, in every way files change."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pingsix_asgi import PingSIX
from pingsix_asgi.config import file as file_module
from pingsix_asgi.config.file import FileSource, Stamp
from pingsix_asgi.testing import EchoApp
from support.gateway import Gateway

POLL_S = 0.01
DEADLINE_S = 10.0


def text(*paths: str, extra: str = "") -> str:
    routes = "".join(
        f"  - {{id: {n}, uri: {path}, plugins: {{}}}}\n" for n, path in enumerate(paths)
    )
    return f"routes:\n{routes}{extra}"


@asynccontextmanager
async def following(path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(app=EchoApp())
    source = FileSource(path, environ={}, poll_s=POLL_S)
    task = asyncio.create_task(source.run(gateway.publisher))
    try:
        await until(lambda: gateway.runtime.published > 0)
        yield gateway
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await gateway.runtime.aclose()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.005)


def paths_of(gateway: Gateway) -> list[str]:
    return [entry.paths[0] for entry in gateway.snapshot.router.entries.values()]


async def test_a_file_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text("/a", "/b"))
    async with following(path) as gateway:
        kept = gateway.snapshot.router.entries["0"]
        path.write_text(text("/a", "/longer"))
        await until(lambda: paths_of(gateway) == ["/a", "/longer"])
        assert gateway.snapshot.router.entries["0"] is kept
        assert gateway.snapshot.changed == ("routes/1",)


async def test_a_file_being_written_is_read_once_it_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text("/a"))
    looks = 0

    def looking(file: Path) -> Stamp:
        nonlocal looks
        looks += 1
        if 1 < looks <= 5:  # as much as was written by the time of each look
            path.write_text(text(*(f"/{n}" for n in range(looks))))
        return stamp(file)

    stamp = file_module._stamp
    monkeypatch.setattr(file_module, "_stamp", looking)
    async with following(path) as gateway:
        await until(lambda: len(paths_of(gateway)) == 5)
        assert gateway.runtime.published == 2


async def test_a_file_renamed_into_place(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text("/a"))
    async with following(path) as gateway:
        new = tmp_path / "config.yaml~"
        new.write_text(text("/b"))
        status = path.stat()
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        new.rename(path)
        await until(lambda: paths_of(gateway) == ["/b"])


async def test_a_directory_link_swapped_as_kubernetes_does(tmp_path: Path) -> None:
    """``config.yaml -> ..data/config.yaml``, and ``..data`` is exchanged by a rename."""
    for name, route in (("one", "/a"), ("two", "/b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text(route))
        os.utime(tmp_path / name / "config.yaml", (1, 1))
    data, path = tmp_path / "..data", tmp_path / "config.yaml"
    data.symlink_to("one")
    path.symlink_to("..data/config.yaml")
    async with following(path) as gateway:
        assert paths_of(gateway) == ["/a"]
        fresh = tmp_path / "..data_tmp"
        fresh.symlink_to("two")
        fresh.rename(data)
        await until(lambda: paths_of(gateway) == ["/b"])


BAD = {
    "no YAML": ("routes: [", "not valid YAML: line"),
    "a faulty route": (text("/a", "/new") + "  - {id: 9, uri: 5}\n", "routes/9: uri: property"),
    "an unknown plugin": (
        "routes: [{id: 1, uri: /x, plugins: {nope: {}}}]",
        "routes/1: plugins.nope: unknown plugin [nope]",
    ),
    "a duplicate": (text("/a") + "  - {id: 0, uri: /b}\n", "routes/0: Duplicate routes ID found"),
    "a missing reference": (
        "routes: [{id: 1, uri: /x, upstream_id: nope}]",
        "routes/1: upstream_id: failed to fetch upstream info",
    ),
    "bad settings": ("pingsix: {nope: 1}", "pingsix: nope: additional properties"),
    "an unset variable": ("routes: [{id: '${{NOPE}}'}]", "can't find environment variable NOPE"),
    "nothing": ("# cut off\n", "it is empty now"),
    "not UTF-8": ("\udcff", "is not UTF-8"),
}


@pytest.mark.parametrize(("bad", "problem"), BAD.values(), ids=list(BAD))
async def test_a_bad_change_is_told_and_the_last_good_one_stays(
    tmp_path: Path, bad: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text("/a"))
    async with following(path) as gateway:
        with caplog.at_level(logging.ERROR):
            path.write_bytes(bad.encode("utf-8", "surrogateescape"))
            await until(lambda: problem in caplog.text)
        assert paths_of(gateway) == ["/a"]
        assert (await gateway.get("/a")).status == 200
        count = caplog.text.count(problem)
        path.write_text(text("/healed"))
        await until(lambda: paths_of(gateway) == ["/healed"])
        assert caplog.text.count(problem) == count


async def test_a_file_that_vanishes_and_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text("/a"))
    async with following(path) as gateway:
        path.unlink()
        await until(lambda: "cannot read configuration file" in caplog.text)
        assert paths_of(gateway) == ["/a"]
        path.write_text(text("/back"))
        await until(lambda: paths_of(gateway) == ["/back"])


async def test_changed_settings_are_told_to_need_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text("/a"))
    async with following(path) as gateway:
        path.write_text(text("/b", extra="pingsix: {workers: 3}\n"))
        await until(lambda: paths_of(gateway) == ["/b"])
        assert "changed settings take effect after a restart" in caplog.text


async def test_changed_settings_beside_a_store_are_told_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "config.yaml"
    store = f"store: 'sqlite:///{tmp_path}/x.db'"
    path.write_text(f"pingsix: {{{store}}}\n")
    gateway = PingSIX(config=path)
    await gateway.startup()
    try:
        path.write_text(f"pingsix: {{{store}, workers: 3}}\n")
        await until(lambda: "changed settings take effect after a restart" in caplog.text)
    finally:
        await gateway.shutdown()


async def test_requests_go_on_while_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text("/always", "/0"))
    async with following(path) as gateway:
        for number in range(1, 20):
            fresh = tmp_path / "fresh"
            fresh.write_text(text("/always", f"/{number}"))
            fresh.rename(path)
            wanted = ["/always", f"/{number}"]
            while paths_of(gateway) != wanted:
                assert (await gateway.get("/always")).status == 200
                await asyncio.sleep(0)
