"""Every case of every file here, against a real gateway configured through its Admin API."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.conformance import Bench, Case, cases

FOLDER = Path(__file__).parent
CASES = [
    pytest.param(case, id=f"{path.stem}: {case.name}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for case in cases(path)
]


@pytest.mark.parametrize("case", CASES)
def test_case(bench: Bench, case: Case) -> None:
    bench.run(case)
