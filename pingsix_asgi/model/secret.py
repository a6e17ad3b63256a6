"""Where referenced secrets are kept: the target of ``$secret://{manager}/{id}/…``."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from .base import Model
from .fields import Many, Resource

URL_PATTERN = r"^[^\/]+:\/\/([\da-zA-Z.-]+|\[[\da-fA-F:]+\])(:\d+)?"
URL = Annotated[str, Field(pattern=URL_PATTERN)]


class Vault(Resource):
    """HashiCorp Vault's key-value engine. Source: apisix/secret/vault.lua."""

    uri: URL
    prefix: str
    token: str
    namespace: str | None = None


class AWS(Resource):
    """AWS Secrets Manager. Source: apisix/secret/aws.lua."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    region: str = "us-east-1"
    endpoint_url: URL | None = None


class GCPAuth(Model):
    """A Google service account."""

    client_email: str
    private_key: str
    project_id: str
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address, no secret
    entries_uri: str = "https://secretmanager.googleapis.com/v1"
    scope: Annotated[Many[str], Field(min_length=1)] = (
        "https://www.googleapis.com/auth/cloud-platform",
    )


class GCP(Resource):
    """Google Secret Manager. Source: apisix/secret/gcp.lua."""

    auth_config: GCPAuth | None = None
    auth_file: str | None = None
    ssl_verify: bool = True

    @model_validator(mode="after")
    def _one_account(self) -> Self:
        if (self.auth_config is None) == (self.auth_file is None):
            found = "none" if self.auth_config is None else "both schemas 1 and 2"
            raise ValueError(f"value should match only one schema, but matches {found}")
        return self


MANAGERS: dict[str, type[Resource]] = {"vault": Vault, "aws": AWS, "gcp": GCP}
