"""The quick start and the sidecar folder do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from pingsix_asgi.cli import main
from support.servers import serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quickstart.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


async def test_around_an_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.yaml").write_text(blocks("yaml")[0])
    module: dict[str, Any] = {}
    first, second = blocks("python")
    exec(first, module)  # the page's own code
    async with (
        serving(module["app"]) as served,
        httpx2.AsyncClient(base_url=served.url) as client,
    ):
        answers = [await client.get("/hello") for _ in range(5)]
        assert [answer.json() for answer in answers] == [{"message": "hello"}] * 5

    exec(second, module)
    async with (
        serving(module["app"]) as served,
        httpx2.AsyncClient(base_url=served.url) as client,
    ):
        answers = [await client.get("/hello") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[0].headers["x-served-by"] == "pingsix"


def test_the_sidecar_s_files_are_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sidecar = ROOT / "sidecar"
    assert main(["check", "-c", str(sidecar / "config.yaml")]) == 0
    documents = list(yaml.safe_load_all((sidecar / "kubernetes.yaml").read_text()))
    assert [document["kind"] for document in documents] == ["ConfigMap", "Deployment", "Service"]
    mounted = tmp_path / "config.yaml"
    mounted.write_text(documents[0]["data"]["config.yaml"])
    assert main(["check", "-c", str(mounted)]) == 0, capsys.readouterr().err
    settings = yaml.safe_load(mounted.read_text())["pingsix"]
    pod = documents[1]["spec"]["template"]["spec"]
    gateway = pod["initContainers"][0]
    ports = {port["containerPort"] for port in gateway["ports"]}
    assert (
        f"0.0.0.0:{gateway['readinessProbe']['httpGet']['port']}" == settings["status"]["address"]
    )
    assert {int(settings["listeners"][0]["address"].rpartition(":")[2])} <= ports
    assert pod["terminationGracePeriodSeconds"] > settings["grace_period"]
