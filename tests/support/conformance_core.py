"""Steps of conformance cases about the core and the Admin API, written as Python data.

A case is a name and a list of steps made by ``put``, ``post``, ``patch``, ``delete``, ``get`` and
``admin`` (Admin API) and ``ask`` (data plane). What is expected of an answer are keyword arguments,
those of ``support.conformance.check``: ``status``, ``error`` (whole ``error_msg``), ``like``,
``unlike``, ``text``, ``document``, ``has`` (part of the JSON body), ``answer`` (headers) and
``upstream`` (what the node got). ``{A}``, ``{B}``, ``{C}`` and ``{closed}`` stand for addresses.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from support.conformance import KEY, Bench, check
from support.processes import DEADLINE_S

Expected = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Manage:
    """One request to the Admin API."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]
    expected: Expected


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to the data plane, ``times`` times over; ``eventually``: until it fits."""

    method: str
    target: str
    options: dict[str, Any]
    expected: Expected
    times: int = 1
    eventually: bool = False


@dataclass(frozen=True, slots=True)
class Spread:
    """Requests to the data plane, and what is to hold of the nodes that answered them."""

    target: str
    count: int
    judge: Callable[[list[str]], bool]
    options: dict[str, Any] = field(default_factory=dict)
    eventually: bool = False


Step = Manage | Ask | Spread


def admin(
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    **expected: Any,
) -> Manage:
    """Send ``body`` (text as it is, everything else as JSON) with the key, or other ``headers``."""
    return Manage(method, path, body, {"X-API-KEY": KEY} if headers is None else headers, expected)


def put(path: str, body: Any, **expected: Any) -> Manage:
    """PUT; without a ``status`` 200 and 201 are good."""
    return admin("PUT", path, body, **{"status": [200, 201], **expected})


def post(path: str, body: Any, **expected: Any) -> Manage:
    """POST; 201 is expected."""
    return admin("POST", path, body, **{"status": 201, **expected})


def patch(path: str, body: Any, **expected: Any) -> Manage:
    """PATCH."""
    return admin("PATCH", path, body, **expected)


def delete(path: str, **expected: Any) -> Manage:
    """DELETE."""
    return admin("DELETE", path, **expected)


def get(path: str, **expected: Any) -> Manage:
    """GET a resource or a list."""
    return admin("GET", path, **expected)


def refused(path: str, body: Any, error: str, method: str = "PUT") -> Manage:
    """Send what is answered 400 with exactly this ``error_msg``."""
    return admin(method, path, body, status=400, error=error)


def ask(
    target: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    times: int = 1,
    eventually: bool = False,
    content: str | bytes | None = None,
    **expected: Any,
) -> Ask:
    """Send a request to the data plane."""
    options: dict[str, Any] = {"headers": headers or {}}
    if content is not None:
        options["content"] = content
    return Ask(method, target, options, expected, times, eventually)


def spread(
    target: str,
    count: int,
    judge: Callable[[list[str]], bool],
    *,
    headers: dict[str, str] | None = None,
    eventually: bool = False,
) -> Spread:
    """GET ``count`` times; ``judge`` sees the names of the nodes ("-" for another answer).

    ``eventually``: over and over until it is content.
    """
    return Spread(target, count, judge, {"headers": headers or {}}, eventually)


def node(*names: str, **fields: Any) -> dict[str, Any]:
    """Return an upstream with these nodes, one each in weight."""
    return {"type": "roundrobin", "nodes": {f"{{{name}}}": 1 for name in names}, **fields}


def route(uri: str = "/hello", upstream: Any = ..., **fields: Any) -> dict[str, Any]:
    """Return a route to node A, or to ``upstream``; None is without."""
    if upstream is None:
        return {"uri": uri, **fields}
    return {"uri": uri, "upstream": node("A") if upstream is ... else upstream, **fields}


def run(bench: Bench, steps: Sequence[Step]) -> None:
    """Take the steps, and everything away again."""
    try:
        take(bench, steps)
    finally:
        bench.clear()


def take(bench: Bench, steps: Sequence[Step]) -> None:
    """Take the steps one after another; what was written is in force before traffic."""
    is_settled = True
    for number, step in enumerate(steps, 1):
        if isinstance(step, Manage):
            _manage(bench, step, number)
            is_settled = is_settled and step.method == "GET"
            continue
        if not is_settled:
            bench.settle()
            is_settled = True
        if isinstance(step, Spread):
            _spread(bench, step, number)
        else:
            _ask(bench, step, number)


def _manage(bench: Bench, step: Manage, number: int) -> None:
    body = bench.filled(step.body)
    if body is not None and not isinstance(body, str):
        body = json.dumps(body)
    url = f"http://127.0.0.1:{bench.admin}/apisix/admin/{bench.filled(step.path)}"
    with httpx2.Client(timeout=DEADLINE_S, trust_env=False) as client:
        answer = client.request(step.method, url, content=body, headers=step.headers)
    where = f"step {number}, {step.method} {step.path}"
    check(answer, bench.filled(step.expected), where)


def _ask(bench: Bench, step: Ask, number: int) -> None:
    expected = bench.filled(step.expected)
    options = bench.filled(step.options)
    where = f"step {number}, {step.method} {step.target}"
    deadline = time.monotonic() + DEADLINE_S
    for _ in _turns(step):
        try:
            check(bench.send(step.method, step.target, **options), expected, where)
        except AssertionError:
            if not step.eventually or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            if step.eventually:
                return


def _turns(step: Ask) -> Iterator[int]:
    number = 0
    while step.eventually or number < step.times:
        yield number
        number += 1


def _spread(bench: Bench, step: Spread, number: int) -> None:
    options = bench.filled(step.options)
    deadline = time.monotonic() + DEADLINE_S
    while True:
        answers = [bench.send("GET", step.target, **options) for _ in range(step.count)]
        names = [one.json()["node"] if one.status_code == 200 else "-" for one in answers]
        if step.judge(names):
            return
        is_late = not step.eventually or time.monotonic() > deadline
        assert not is_late, f"step {number}, GET {step.target}: {''.join(names)}"
        time.sleep(0.05)
