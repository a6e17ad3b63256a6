"""One gateway for the conformance cases of a worker; every case cleans up after itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.conformance import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench.running(tmp_path_factory.mktemp("conformance")) as bench:
        yield bench
