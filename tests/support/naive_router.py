"""A matcher written from the rules alone: it looks at every route and sorts what matches.

Patterns are given as tokens, so that nothing of the gateway's parser is used.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

WILD = {"param", "any", "some"}


@dataclass(frozen=True)
class Piece:
    """ "lit" with its text, or a wildcard of one of the kinds in WILD, as spelled in ``text``."""

    kind: str
    text: str


@dataclass(frozen=True)
class NaiveRoute:
    id: str
    paths: tuple[tuple[Piece, ...], ...]
    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    networks: tuple[str, ...]
    flag: bool | None
    """What the predicate says; None for no predicate."""
    priority: int


@dataclass(frozen=True)
class NaiveRequest:
    path: str
    host: str
    authority: str
    method: str
    client: str


def spelled(pieces: tuple[Piece, ...]) -> str:
    return "".join(piece.text for piece in pieces)


def literal(piece: Piece) -> str:
    return piece.text.replace("{{", "{").replace("}}", "}")


def matches_path(pieces: tuple[Piece, ...], path: str) -> bool:
    if not pieces:
        return path == ""
    head, rest = pieces[0], pieces[1:]
    if head.kind == "lit":
        text = literal(head)
        return path.startswith(text) and matches_path(rest, path[len(text) :])
    ends = range(len(path), -1, -1)
    if head.kind == "param":
        run = len(path.split("/")[0])
        ends = range(run, 0, -1)
    elif head.kind == "some":
        ends = range(len(path), 0, -1)
    return any(matches_path(rest, path[end:]) for end in ends)


def key_of(pieces: tuple[Piece, ...]) -> str:
    key = ""
    for piece in pieces:
        if piece.kind in WILD:
            break
        key += literal(piece)
    return key


def rank_of(pieces: tuple[Piece, ...]) -> tuple[int, list[int]]:
    """Longer first, a {…} counting one; then literal before parameter before anything."""
    length = 0
    for piece in pieces:
        text = literal(piece) if piece.kind == "lit" else piece.text
        length += 1 if text.startswith("{") and piece.kind != "lit" else len(text)
    shape = [0]
    wild = False
    for piece in pieces:
        if piece.kind != "lit":
            wild = True
            shape[-1] = max(shape[-1], {"param": 1, "any": 2, "some": 3}[piece.kind])
            continue
        for _ in range(piece.text.count("/")):
            shape = [*shape, 0] if wild else [0]
    return -length, shape


def host_rank(host: str, request: NaiveRequest) -> tuple[int, int, int] | None:
    """Exact hosts first, then wildcards by length; on equal length the one with a port first."""
    pattern = host.lower()
    with_port = pattern.rpartition(":")[2].isdigit() and not pattern.endswith("]")
    subject = request.authority.lower() if with_port else request.host
    if pattern.startswith("*"):
        if not subject.endswith(pattern[1:]):
            return None
        return (1, -len(pattern), 0 if with_port else 1)
    return (0, 0, 0 if with_port else 1) if subject == pattern else None


def in_networks(client: str, networks: tuple[str, ...]) -> bool:
    address = ipaddress.ip_address(client)
    return any(address in ipaddress.ip_network(network) for network in networks)


def naive_match(routes: list[NaiveRoute], request: NaiveRequest) -> tuple[str, int] | None:
    """Return (route id, index of its path), or None."""
    hits = []
    for route in routes:
        if route.methods and request.method not in route.methods:
            continue
        if route.networks and not in_networks(request.client, route.networks):
            continue
        if route.flag is False:
            continue
        ranks = [rank for host in route.hosts if (rank := host_rank(host, request)) is not None]
        if route.hosts and not ranks:
            continue
        place = min(ranks) if ranks else (2, 0, 0)
        for index, pieces in enumerate(route.paths):
            if not matches_path(pieces, request.path):
                continue
            is_exact = all(piece.kind == "lit" for piece in pieces)
            order = (
                place,
                not is_exact,
                -len(key_of(pieces)),
                -route.priority,
                rank_of(pieces),
                route.id,
                index,
            )
            hits.append((order, (route.id, index)))
    return min(hits)[1] if hits else None
