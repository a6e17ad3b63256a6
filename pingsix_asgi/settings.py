"""What a process is started with: the ``pingora`` and ``pingsix`` sections, and the environment.

Every ``pingsix`` setting can also be given as ``PINGSIX_…``, nested names joined by two underscores
(``PINGSIX_ETCD__HOST``); the environment wins over the file. Settings are read once: a change needs
a restart. Times are seconds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .errors import InvalidConfig, SchemaError
from .model.base import explain, json_type
from .model.setting_sections import (
    Admin,
    DataEncryption,
    Defaults,
    Discovery,
    Etcd,
    Listener,
    Log,
    Pingora,
    Prometheus,
    Sentry,
    StatusSection,
)
from .model.setting_types import Own, Texts, listed, networks, peers
from .types import JSON

logger = logging.getLogger("pingsix_asgi.settings")

GRACE_PERIOD_S = 300.0
"""Longest wait for requests in flight (Pingora's grace_period_seconds)."""


class _Environment(EnvSettingsSource):
    """Variables, of which one may hold a section as a JSON object and others names inside it."""

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:
        """Read objects and lists; anything else is read by the type of the setting."""
        try:
            decoded = json.loads(value)
        except ValueError:
            return value
        return decoded if isinstance(decoded, dict | list) else value

    def explode_env_vars(
        self, field_name: str, field: FieldInfo, env_vars: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """Read names inside a section, the outer ones first: the inner ones win."""
        return super().explode_env_vars(field_name, field, dict(sorted(env_vars.items())))


class Settings(BaseSettings):
    """Everything a process is started with.

    ``store`` is "sqlite:///path" for the embedded store. ``trusted_addresses`` are peers whose
    X-Forwarded-… is believed. ``real_ip_from`` are peers whose ``real_ip_header`` names the client
    before a route is chosen; None: as in APISIX for a gateway alone, nobody in-process.
    ``workers``: processes, default Pingora's ``threads`` or 1. ``grace_period``: wait for requests
    in flight, default Pingora's or 300. ``drain_delay``: time between readiness failing and the end
    of accepting. What is neither PingSIX's nor APISIX's comes last.
    """

    model_config = SettingsConfigDict(
        env_prefix="PINGSIX_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,
    )

    pingora: Own[Pingora] = Pingora()
    listeners: Annotated[tuple[Listener, ...], BeforeValidator(listed), Field(min_length=1)] = (
        Listener(),
    )
    etcd: Own[Etcd | None] = None
    admin: Own[Admin | None] = None
    status: Own[StatusSection | None] = None
    prometheus: Own[Prometheus | None] = None
    sentry: Own[Sentry | None] = None
    log: Own[Log | None] = None
    defaults: Own[Defaults] = Defaults()
    discovery: Own[Discovery] = Discovery()
    data_encryption: Own[DataEncryption] = DataEncryption()
    store: Annotated[str, Field(pattern=r"^sqlite:///.+")] | None = None
    trusted_addresses: Annotated[Texts, AfterValidator(networks)] = ()
    real_ip_header: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]+$")] = "X-Real-IP"
    real_ip_from: Annotated[Texts, AfterValidator(peers)] | None = None
    enable_server_tokens: bool = True
    show_upstream_status_in_response_header: bool = False
    server: Literal["uvicorn", "granian"] = "uvicorn"
    workers: Annotated[int, Field(ge=1)] | None = None
    grace_period: Annotated[float, Field(ge=0)] | None = None
    drain_delay: Annotated[float, Field(ge=0)] = 0

    @property
    def worker_count(self) -> int:
        """Return how many processes serve."""
        return self.workers or self.pingora.threads or 1

    @property
    def grace_period_s(self) -> float:
        """Return how long requests in flight are waited for."""
        if self.grace_period is not None:
            return self.grace_period
        given = self.pingora.grace_period_seconds
        return GRACE_PERIOD_S if given is None else given

    @model_validator(mode="after")
    def _one_store(self) -> Self:
        if self.etcd is not None and self.store is not None:
            raise ValueError("etcd and store exclude each other")
        if self.sentry is not None:
            logger.warning("sentry is not supported: its section has no effect")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file."""
        return _Environment(settings_cls), init_settings


def load_settings(pingsix: JSON = None, pingora: JSON = None) -> Settings:
    """Make settings of the two sections of a file and the environment.

    Raises InvalidConfig that tells every problem.
    """
    errors = [
        SchemaError(f"wrong type: expected object, got {json_type(section)}", kind=name)
        for name, section in (("pingsix", pingsix), ("pingora", pingora))
        if section is not None and not isinstance(section, dict)
    ]
    given = {str(key): value for key, value in pingsix.items()} if isinstance(pingsix, dict) else {}
    if given.pop("pingora", None) is not None:
        text = "additional properties forbidden, found pingora"
        errors.append(SchemaError(text, kind="pingsix", path="pingora"))
    if isinstance(pingora, dict):
        given["pingora"] = pingora
    try:
        settings = Settings(**given)
    except ValidationError as error:
        errors += [SchemaError(text, kind="pingsix", path=at) for at, text in explain(error)]
    if errors:
        raise InvalidConfig(errors)
    return settings
