"""Run the cases in interleaved rounds, so that every ratio comes from the same minutes."""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import bodies, load, nginx
from .alternate import compare
from .cases import Case, uvicorn
from .processes import Cores, Server, free_port, python, serving

WARM_UP_S = 1
BODY_BYTES = 100_000_000
NO_PLUGIN = "none"
PLUGIN_ROUTES = (
    *(NO_PLUGIN, "request-id", "cors", "ip-restriction", "key-auth", "proxy-rewrite"),
    *("limit-count", "limit-req", "limit-conn", "response-rewrite", "prometheus", "gzip", "echo"),
)
"""The routes of apps/plugins.py."""
FIXED_RATE = 1000
"""Requests/s at which latency is compared: low enough for every case to keep up with."""


@dataclass
class Samples:
    """All values of one case by measure, one per round."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failure: str = ""

    def add(self, measure: str, value: float) -> None:
        self.values[measure].append(value)

    def median(self, measure: str) -> float | None:
        found = self.values.get(measure)
        return statistics.median(found) if found else None


@dataclass(frozen=True)
class Options:
    tool: str
    seconds: int
    rounds: int
    measures: frozenset[str]
    """Of "throughput", "latency", "bodies", "plugins"."""


class Run:
    """One session: the upstreams stay up, each case is started anew in each round."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self.cores = Cores.choose()
        self._folder = Path()

    def measure(self, cases: list[Case]) -> dict[str, Samples]:
        samples = {case.name: Samples(failure=case.missing()) for case in cases}
        with tempfile.TemporaryDirectory(prefix="pingsix-bench-") as folder:
            self._folder = Path(folder)
            with self._upstreams() as (small, large):
                for number in range(self._options.rounds):
                    for case in cases:
                        self._say(f"round {number + 1}/{self._options.rounds}: {case.name}")
                        self._one(case, samples[case.name], small, large)
                if "plugins" in self._options.measures:
                    samples |= self._plugins(small)
        return samples

    def _plugins(self, upstream: Server) -> dict[str, Samples]:
        """Measure each plugin alone in one process, in turn with a route that has none."""
        samples = {name: Samples() for name in PLUGIN_ROUTES}
        case = Case("plugins", "proxy", uvicorn("plugins"))
        with self._served(case, upstream, f"/{NO_PLUGIN}/") as server:
            for number in range(self._options.rounds):
                for name in PLUGIN_ROUTES[1:]:
                    self._say(f"round {number + 1}/{self._options.rounds}: {name}")
                    paths = f"/{NO_PLUGIN}/hello", f"/{name}/hello"
                    found = compare(server, *paths, self._options.seconds)
                    samples[NO_PLUGIN].add("plugin_cpu_us", found.first_us)
                    samples[name].add("plugin_cpu_us", found.second_us)
                    samples[name].add("plugin_ratio", found.ratio)
        return samples

    @contextmanager
    def _upstreams(self) -> Iterator[tuple[Server, Server]]:
        small, large = free_port(), free_port()
        core, logs = self.cores.upstream, self._folder
        command = nginx.upstream_command(self._folder / "upstream", small)
        serve_large = python("-m", "benchmarks.apps.body_upstream", str(large))
        with (
            serving(command, small, core, "/", logs / "small.log", {}) as first,
            serving(serve_large, large, core, "/0", logs / "large.log", {}) as second,
        ):
            yield first, second

    def _one(self, case: Case, samples: Samples, small: Server, large: Server) -> None:
        if samples.failure:
            return
        wanted = self._options.measures
        try:
            if wanted & {"throughput", "latency"}:
                with self._served(case, small) as server:
                    self._small_requests(case, samples, server)
            if "bodies" in wanted and case.streams:
                with self._served(case, large, "/0") as server:
                    self._large_bodies(samples, server)
        except (OSError, RuntimeError) as error:
            samples.failure = str(error)

    @contextmanager
    def _served(self, case: Case, upstream: Server, path: str = "") -> Iterator[Server]:
        port = free_port()
        address = f"127.0.0.1:{upstream.port}"
        folder = self._folder / "case"
        env = {"BENCH_UPSTREAM": address, **case.env}
        command = case.command(folder, port, address)
        log = self._folder / "case.log"
        with serving(command, port, self.cores.proxy, path or case.path, log, env) as server:
            yield server

    def _small_requests(self, case: Case, samples: Samples, server: Server) -> None:
        samples.add("start_s", server.started_in)
        samples.add("idle_mb", server.memory_mb())
        options = self._options
        self._load(server, load.Load(case.path, WARM_UP_S, case.routes))
        if "throughput" in options.measures:
            cpu_before = server.cpu_seconds()
            result = self._load(server, load.Load(case.path, options.seconds, case.routes))
            samples.add("rps", result.rps)
            cpu_s = server.cpu_seconds() - cpu_before
            samples.add("cpu_us", cpu_s * 1e6 / (result.rps * result.seconds))
            samples.add("full_p50_ms", result.p50_ms)
            samples.add("full_p99_ms", result.p99_ms)
            samples.add("errors", result.errors)
            samples.add("loaded_mb", server.memory_mb())
        if "latency" in options.measures:
            fixed = load.Load(case.path, options.seconds, case.routes, FIXED_RATE)
            result = self._load(server, fixed)
            samples.add("fixed_rps", result.rps)
            samples.add("p50_ms", result.p50_ms)
            samples.add("p99_ms", result.p99_ms)

    def _load(self, server: Server, wanted: load.Load) -> load.Result:
        return load.run(self._options.tool, server.port, wanted, self.cores.client)

    def _large_bodies(self, samples: Samples, server: Server) -> None:
        server.forget_peak()
        samples.add("down_mb_s", bodies.download(server.port, BODY_BYTES))
        samples.add("down_growth_mb", server.peak_growth_mb())
        server.forget_peak()
        samples.add("up_mb_s", bodies.upload(server.port, BODY_BYTES))
        samples.add("up_growth_mb", server.peak_growth_mb())
