"""The sections of the settings, as they stand in a file. Times are seconds."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from ..types import JSON
from .setting_types import (
    Address,
    Filled,
    Section,
    Texts,
    is_loopback,
    name_servers,
    networks,
    together,
)

GATEWAY_ADDRESS = "0.0.0.0:9080"
ADMIN_ADDRESS = "127.0.0.1:9180"
METRICS_ADDRESS = "127.0.0.1:9091"
STATUS_ADDRESS = "127.0.0.1:7085"


class ListenerTLS(Section):
    """Certificate and key files, PEM, for names no ``ssls`` resource has; else those fail.

    ``fallback_sni`` is the name assumed of clients that send none.
    """

    cert_path: Filled | None = None
    key_path: Filled | None = None
    fallback_sni: Filled | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        return together(self, "tls_cert_and_key", "cert_path", "key_path")


class Listener(Section):
    """An address for requests. ``offer_h2`` needs ``tls``; ``offer_h2c`` is for plain ones."""

    address: Address = GATEWAY_ADDRESS
    tls: ListenerTLS | None = None
    offer_h2: bool = False
    offer_h2c: bool = False

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: JSON) -> JSON:
        return {"address": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _h2_over_tls(self) -> Self:
        if self.offer_h2 and self.tls is None:
            raise ValueError("tls_required_for_h2: offer_h2 needs tls")
        return self


class EtcdTLS(Section):
    """How etcd is verified, and what is shown to it; paths of PEM files."""

    ca_cert: Filled
    client_cert: Filled | None = None
    client_key: Filled | None = None
    domain: str | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        return together(self, "mtls_cert_and_key", "client_cert", "client_key")


class Etcd(Section):
    """Where the configuration comes from. ``host`` are URLs, or host:port."""

    host: Annotated[Texts, Field(min_length=1)]
    prefix: Annotated[str, Field(min_length=1)] = "/apisix"
    timeout: Annotated[float, Field(gt=0)] = 5
    connect_timeout: Annotated[float, Field(gt=0)] = 3
    user: Filled | None = None
    password: Annotated[Filled | None, Field(repr=False)] = None
    tls: EtcdTLS | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        together(self, "etcd_user_and_password", "user", "password")
        for host in self.host:
            self._judge(host)
        return self

    def _judge(self, host: str) -> None:
        wanted = "https" if self.tls is not None else "http"
        shown = host.rpartition("@")[2].partition("?")[0]  # what is before may be a password
        try:
            url = urlsplit(host if "://" in host else f"{wanted}://{host}")
        except ValueError:
            raise ValueError(f'invalid_etcd_endpoint: "{shown}" is no URL') from None
        is_plain = not (url.username or url.password or url.query or url.fragment)
        if not url.hostname or not is_plain or url.path not in ("", "/"):
            raise ValueError(f'invalid_etcd_endpoint: "{shown}": expected scheme://host:port')
        if url.scheme != wanted:
            raise ValueError(f'invalid_etcd_endpoint: "{shown}": expected {wanted} by tls')


class AdminKey(Section):
    """A key of the Admin API; ``viewer`` may only read."""

    name: str = ""
    key: Annotated[Filled, Field(repr=False)]
    role: Literal["admin", "viewer"] = "admin"


class Admin(Section):
    """The Admin API. ``api_key`` is PingSIX's single key, ``admin_key`` APISIX's list.

    An address that is not loopback needs ``allow_insecure_remote``. ``allow_admin`` are addresses
    and CIDR blocks of clients; empty: all the listener lets in.
    """

    address: Address = ADMIN_ADDRESS
    api_key: Annotated[Filled | None, Field(repr=False)] = None
    admin_key: tuple[AdminKey, ...] = ()
    admin_key_required: bool = True
    allow_insecure_remote: bool = False
    allow_admin: Annotated[Texts, AfterValidator(networks)] = ()
    enable_admin_cors: bool = True

    @property
    def keys(self) -> tuple[AdminKey, ...]:
        """Return every key, however it was given."""
        single = (AdminKey(name="admin", key=self.api_key),) if self.api_key else ()
        return (*single, *self.admin_key)

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.admin_key_required and not self.keys:
            raise ValueError("api_key_required: give api_key, or set admin_key_required to false")
        if not is_loopback(self.address) and not self.allow_insecure_remote:
            raise ValueError(
                f"{self.address} is not a loopback address: the Admin API has no TLS; "
                "set allow_insecure_remote to listen there all the same"
            )
        return self


class StatusSection(Section):
    """The status listener and when readiness fails."""

    address: Address = STATUS_ADDRESS
    config_stale_after: Annotated[float, Field(ge=0)] = 300
    fail_readiness_when_stale: bool = True
    diagnostics_api_key: Annotated[str | None, Field(repr=False)] = None
    allow_insecure_remote: bool = False


class Prometheus(Section):
    """The metrics listener."""

    address: Address = METRICS_ADDRESS


class Sentry(Section):
    """Read so that PingSIX's files run; nothing is reported to Sentry, which is logged."""

    dsn: str


class Log(Section):
    """A log file in place of standard error, with rotation."""

    path: Filled
    max_size_bytes: Annotated[int, Field(ge=1)] = 100 * 1024 * 1024
    max_backups: Annotated[int, Field(ge=0)] = 5
    rotation: Literal["internal", "external", "disabled"] = "internal"


TimeoutS: TypeAlias = Annotated[float, Field(ge=1, le=86400)]


class UpstreamTimeout(Section):
    """Timeouts of upstreams that have none; all three are needed."""

    connect: TimeoutS
    send: TimeoutS
    read: TimeoutS


class CacheDefaults(Section):
    """Bounds of the response cache."""

    max_memory_bytes: Annotated[int, Field(ge=1)] = 512 * 1024 * 1024
    default_max_object_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024


class Defaults(Section):
    """What holds where a resource does not say otherwise.

    ``upstream_timeout`` None is 60 each, as in APISIX. ``dns_refresh_interval`` None goes by the
    records' TTL. ``upstream_tls_verify`` and ``upstream_ca_file`` are ours.
    """

    upstream_timeout: UpstreamTimeout | None = None
    dns_resolution_timeout: Annotated[float, Field(ge=1, le=60)] = 5
    dns_refresh_interval: Annotated[float, Field(ge=1, le=3600)] | None = None
    cache: CacheDefaults = CacheDefaults()
    upstream_tls_verify: bool = False
    upstream_ca_file: str | None = None


class DnsDiscovery(Section):
    """``servers`` ("address" or "address:port") are asked in place of the system's resolver."""

    servers: Annotated[Texts, AfterValidator(name_servers)] = ()


class Discovery(Section):
    """Where names of upstream nodes are looked up. Source: APISIX's ``discovery``."""

    dns: DnsDiscovery = DnsDiscovery()


class DataEncryption(Section):
    """Secrets encrypted in the store; the first key of the ring encrypts, all decrypt."""

    enable: bool = False
    keyring: Annotated[Texts, Field(repr=False)] = ()

    @model_validator(mode="after")
    def _keys(self) -> Self:
        if self.enable and not self.keyring:
            raise ValueError("data_encryption_keyring_required: enable needs a keyring")
        if self.enable and not all(key.strip() for key in self.keyring):
            raise ValueError("data_encryption_keyring_entry_empty: a keyring entry is empty")
        return self


class Pingora(Section):
    """Pingora's section. Only what has a meaning here is kept; all other keys are tolerated."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    threads: Annotated[int, Field(ge=1)] | None = None
    ca_file: str | None = None
    grace_period_seconds: Annotated[float, Field(ge=0)] | None = None
