"""Where referenced secrets are kept: the target of ``$secret://{manager}/{id}/…``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .fields import Resource

URL_PATTERN = r"^[^\/]+:\/\/([\da-zA-Z.-]+|\[[\da-fA-F:]+\])(:\d+)?"
URL = Annotated[str, Field(pattern=URL_PATTERN)]


class Vault(Resource):
    """HashiCorp Vault's key-value engine. Source: apisix/secret/vault.lua."""

    id: str | None = None
    """Stored as ``vault/{id}``, as APISIX does; the key decides."""
    uri: URL
    prefix: str
    token: str
    namespace: str | None = None


MANAGERS: dict[str, type[Resource]] = {"vault": Vault}
"""Models by manager. APISIX also knows aws and gcp: they are refused by name."""
