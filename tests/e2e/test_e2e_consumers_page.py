"""The page on consumers, run as it stands but for its ports."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

from support.consoles import parse, shown
from support.processes import accepts, free_port, gateway
from support.sidecar import Service

PAGE = Path(__file__).parents[2] / "docs" / "consumers.md"


def test_what_the_page_shows_is_what_happens(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    with Service.running() as service:
        text = PAGE.read_text()
        for shown_port, own in ((9080, port), (9180, admin), (8000, service.server_port)):
            text = text.replace(str(shown_port), str(own))
        document = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
        document["pingsix"]["store"] = f"sqlite:///{tmp_path}/pingsix.db"
        file = tmp_path / "gateway.yaml"
        file.write_text(yaml.safe_dump(document))
        steps = [
            step
            for console in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
            for step in parse(console)
        ]
        assert len(steps) == 11
        with gateway("run", "-c", str(file)) as process:
            process.wait_for(lambda: accepts(admin) and accepts(port), "listening")
            for command, expected in steps:
                assert shown(command, {**os.environ}, expected) == expected.strip(), command
