"""The Admin API as the command line uses it: documents read, written and deleted."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import httpx2

from ..errors import ConfigError
from ..types import JSON

SERVER: Final = "http://127.0.0.1:9180"
TIMEOUT_S: Final = 30.0
ORDER: Final = (
    "secrets",
    "protos",
    "plugin_metadata",
    "ssls",
    "upstreams",
    "services",
    "plugin_configs",
    "consumer_groups",
    "consumers",
    "credentials",
    "global_rules",
    "routes",
)
"""Kinds so that nothing comes before what it refers to."""
_NOT_OURS: Final = ("id", "create_time", "update_time")
"""What the server adds to a document."""

Documents = dict[str, dict[str, dict[str, Any]]]
"""Documents by kind and id, without what the server adds."""


class AdminError(ConfigError):
    """The Admin API cannot be reached, or refused; ``status`` is 0 without an answer.

    ``errors`` are those it lists one by one when it has judged a whole configuration.
    """

    def __init__(
        self, message: str, status: int = 0, errors: Sequence[dict[str, Any]] = ()
    ) -> None:
        super().__init__(message)
        self.status, self.errors = status, errors


class AdminClient:
    """Talks to one Admin API. Every method raises AdminError."""

    def __init__(self, server: str, key: str | None) -> None:
        headers = {"X-API-KEY": key} if key else {}
        self._base = f"{server.rstrip('/')}/apisix/admin"
        self._http = httpx2.Client(headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def documents(self, kinds: Iterable[str]) -> Documents:
        """Return all documents of some kinds; credentials come with their consumers."""
        found: Documents = {}
        for kind in kinds:
            if kind == "credentials":
                continue
            found[kind] = self._list(kind, kind)
            if kind == "consumers":
                found["credentials"] = {
                    f"{name}/{id}": document
                    for name in found[kind]
                    for id, document in self._list(
                        "credentials", f"consumers/{name}/credentials"
                    ).items()
                }
        return found

    def put(self, kind: str, id: str, document: JSON) -> None:
        """Write a document."""
        path = "consumers" if kind == "consumers" else path_of(kind, id)
        self._send("PUT", path, document)

    def delete(self, kind: str, id: str) -> None:
        """Delete a document; one that is gone already is fine."""
        try:
            self._send("DELETE", path_of(kind, id))
        except AdminError as error:
            if error.status != 404:
                raise

    def validate(self, sections: dict[str, Any]) -> None:
        """Have a configuration judged, changing nothing."""
        self._send("POST", "configs/validate", sections)

    def _list(self, kind: str, path: str) -> dict[str, dict[str, Any]]:
        try:
            entries = self._send("GET", f"{path}?defaults=false").get("list") or []
        except AdminError as error:
            if error.status != 404 or kind != "credentials":
                raise
            return {}  # what APISIX answers for a consumer without any
        return {
            entry["key"].rpartition(f"/{kind}/")[2]: bare(entry["value"])
            for entry in entries
            if isinstance(entry.get("value"), dict)
        }

    def _send(self, method: str, path: str, document: JSON = None) -> Any:
        content = {} if document is None else {"json": document}
        try:
            answer = self._http.request(method, f"{self._base}/{path}", **content)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise AdminError(f"{self._base}: {error or type(error).__name__}") from error
        try:
            found = answer.json() if answer.content.strip() else {}
        except ValueError:
            found = None
        if answer.status_code >= 300:
            told = found if isinstance(found, dict) else {}
            text = told.get("description") or told.get("error_msg") or told.get("message")
            text = text or f"answered {answer.status_code}"
            listed = told.get("errors")
            errors = [one for one in listed if isinstance(one, dict)] if listed else ()
            raise AdminError(f"{method} {path}: {text}", answer.status_code, errors)
        if not isinstance(found, dict):
            raise AdminError(f"{method} {path}: not the answer of an Admin API")
        return found


def path_of(kind: str, id: str) -> str:
    """Return the path of a resource below ``/apisix/admin``."""
    if kind == "credentials":
        consumer, _, credential = id.partition("/")
        return f"consumers/{consumer}/credentials/{credential}"
    return f"{kind}/{id}"


def bare(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without what the server adds, for comparing."""
    return {name: value for name, value in document.items() if name not in _NOT_OURS}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which Admin API is meant."""
    parser.add_argument(
        "--server",
        metavar="URL",
        default=os.environ.get("PINGSIX_ADMIN_URL") or SERVER,
        help=f"Admin API; default: PINGSIX_ADMIN_URL, else {SERVER}",
    )
    parser.add_argument(
        "--key",
        default=os.environ.get("PINGSIX_ADMIN__API_KEY"),
        help="its key; default: PINGSIX_ADMIN__API_KEY",
    )


def client_of(arguments: argparse.Namespace) -> AdminClient:
    """Return a client for the options given."""
    return AdminClient(arguments.server, arguments.key)
