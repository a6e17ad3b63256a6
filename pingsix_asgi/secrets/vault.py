"""HashiCorp Vault's key-value engine as a secret manager.

``$secret://vault/1/jack/auth-key`` reads key ``auth-key`` of ``{uri}/v1/{prefix}/jack``. Both
engine versions are understood: version 2 answers with one more level of ``data``.
Source: APISIX apisix/secret/vault.lua; Vault KV HTTP API.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

from ..errors import SourceError
from ..types import JSON
from .references import Unreachable

TIMEOUT_S = 5.0


class Vault:
    """One ``secrets/vault/{id}`` resource: ``uri``, ``prefix``, ``token`` and ``namespace``."""

    def __init__(self, *, uri: str, prefix: str, token: str, namespace: str | None = None) -> None:
        self._base = f"{uri.rstrip('/')}/v1/{prefix.strip('/')}"
        self._headers = {"X-Vault-Token": token}
        if namespace:
            self._headers["X-Vault-Namespace"] = namespace

    async def fetch(self, path: str) -> str:
        """Return the member named by the last part of ``path``.

        Raises Unreachable when there is no answer, SourceError for one without the secret.
        """
        name, _, member = path.rpartition("/")
        if not name:
            raise SourceError(f"{path!r} needs the form name/key")
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
                answer = await client.get(f"{self._base}/{name}", headers=self._headers)
        except httpx2.HTTPError as error:
            raise Unreachable(f"vault: {error or type(error).__name__}") from error
        except (httpx2.InvalidURL, ValueError, ExceptionGroup) as error:
            # a name, address or token of no use; a port no socket takes comes in a group
            raise SourceError(f"vault cannot be asked for {name}: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise SourceError(f"vault answered {answer.status_code} for {name}")
        return _member(_document(answer), member)


def _document(answer: httpx2.Response) -> JSON:
    try:
        return answer.json()["data"]
    except (ValueError, KeyError, TypeError):
        raise SourceError("vault answered without data") from None


def _member(data: JSON, member: str) -> str:
    if isinstance(data, Mapping) and isinstance(data.get("metadata"), Mapping):
        data = data.get("data")
    value = data.get(member) if isinstance(data, Mapping) else None
    if not isinstance(value, str):
        raise SourceError(f"vault has no text under {member!r}")
    return value
