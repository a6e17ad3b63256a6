"""One resource compiled on its own, before it is linked with those it refers to.

A part depends on its document, on the metadata of its plugins and on the named upstreams that its
plugins use. While these stay the same, it is taken over from snapshot to snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..context import Context
from ..errors import SchemaError
from ..expr.expression import compile_expression
from ..expr.variables import needs_body
from ..http.addresses import AddressSet
from ..model.base import Model
from ..model.route import Route
from ..plugin.base import Plugin, PluginConf
from ..plugin.layer import Faults, Steps
from ..plugin.plan import Step
from ..routing.hosts import parse_host
from ..routing.pattern import parse_path
from ..secrets.fields import Path
from ..secrets.references import Unresolved
from ..secrets.unresolved import MESSAGE
from ..types import JSON
from ..upstream.node import Timeouts
from ..upstream.upstream import Upstream


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One plugin of one resource, with everything its instance was made of."""

    conf: JSON
    plugin: type[Plugin]
    step: Step | None
    """None: disabled."""
    metadata: PluginConf | None = None
    timeout: Timeouts | None = None
    uses: Mapping[str, Upstream | None] = field(default_factory=dict)
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    lacks: tuple[Path, ...] = ()
    """Where the conf refers to secrets that cannot be resolved."""


@dataclass(frozen=True, slots=True, eq=False)
class PluginSet:
    """The plugins of one resource, by name."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    steps: Steps = field(default_factory=dict)


NO_PLUGINS = PluginSet()


@dataclass(frozen=True, slots=True, eq=False)
class RouteTests:
    """What a route asks of a request beside path, host and method."""

    remote_addrs: AddressSet | None = None
    predicate: Callable[[Context], bool] | None = None
    needs_body: bool = False


NO_TESTS = RouteTests()


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A compiled resource."""

    key: str
    """As "routes/1"."""
    document: JSON
    model: Model
    plugins: PluginSet = NO_PLUGINS
    upstream: Upstream | None = None
    """The resource itself if it is an upstream, else its inline upstream."""
    tests: RouteTests = NO_TESTS
    auth: Mapping[str, PluginConf] = field(default_factory=dict)
    """Of a consumer or credential: what auth plugins find it by."""
    metadata: PluginConf | None = None
    """Of plugin metadata: the document, validated by the plugin's model."""

    def upstreams(self) -> Iterator[tuple[str, Upstream]]:
        """Yield key and upstream of everything that lives as long as this part."""
        if self.upstream is not None:
            yield self.key, self.upstream
        for entry in self.plugins.entries.values():
            yield from entry.upstreams.items()

    def unresolved(self) -> Iterator[Unresolved]:
        """Yield an error for each secret that plugins lack."""
        kind, _, id = self.key.partition("/")
        for name, entry in self.plugins.entries.items():
            for path in entry.lacks:
                at = ".".join(map(str, ("plugins", name, *path)))
                yield Unresolved(MESSAGE, kind=kind, id=id, path=at)


def compile_tests(route: Route, faults: Faults) -> RouteTests:
    """Compile the conditions of a route, and judge its paths and hosts."""
    field_name = "uri" if route.uri is not None else "uris"
    _judge(field_name, route.paths, parse_path, faults)
    field_name = "host" if route.host is not None else "hosts"
    _judge(field_name, route.all_hosts, parse_host, faults)
    predicate = None
    if route.vars:
        try:
            predicate = compile_expression(route.vars)
        except ValueError as error:
            faults.add(f"failed to validate the 'vars' expression: {error}", "vars")
    addresses = AddressSet(route.all_remote_addrs) if route.all_remote_addrs else None
    if predicate is None and addresses is None:
        return NO_TESTS
    return RouteTests(addresses, predicate, predicate is not None and needs_body(route.vars))


def judge_tests(
    document: Mapping[str, JSON], errors: Iterable[SchemaError], faults: Faults
) -> None:
    """Judge the paths, hosts and expression of a route that is faulty elsewhere."""
    faulty = {error.path.partition(".")[0] for error in errors}
    names = ("uri", "uris", "host", "hosts", "vars")
    sound = {name: document[name] for name in names if document.get(name) and name not in faulty}
    if "uris" not in sound:
        sound.setdefault("uri", "/")
    compile_tests(Route.model_construct(**sound), faults)


def _judge(
    name: str, values: tuple[str, ...], parse: Callable[[str], object], faults: Faults
) -> None:
    for index, value in enumerate(values):
        try:
            parse(value)
        except ValueError as error:
            is_list = name.endswith("s")
            place = f"failed to validate item {index + 1}: " if is_list else ""
            text = f'property "{name}" validation failed: {place}{error}'
            faults.add(text, f"{name}.{index}" if is_list else name)
