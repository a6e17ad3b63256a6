"""From what a user gives to settings and a source."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..errors import SourceError
from ..model.resources import Resources
from ..model.setting_sections import Etcd
from ..settings import Settings
from .document import read_document
from .env import FILE, chosen, read_environment, unknown_variables
from .etcd import EtcdStore
from .etcd_client import EtcdClient, EtcdOptions
from .file import FileSource
from .source import FixedSource, Source
from .sqlite import SQLiteStore, path_of
from .store import Store
from .watch import StoreSource

logger = logging.getLogger("pingsix_asgi.config")

ConfigArg: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Settings | None
"""A path, a dict with the content of a configuration file, settings, or None: the environment."""


_OF_THE_PROCESS = (
    "listeners",
    "admin",
    "status",
    "prometheus",
    "log",
    "server",
    "workers",
    "grace_period",
    "drain_delay",
)
"""Settings of ``pingsix-asgi run``; in-process the server around has its own."""
DEFAULT_STORE = "sqlite:///pingsix.db"
"""Where the Admin API writes when no store is named: a file in the working directory."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A configuration that was found; resources are not compiled yet."""

    settings: Settings
    source: Source
    name: str
    """For the status page: "yaml", "env", "dict", "etcd" or "sqlite"."""
    store: Store | None = None
    """What the Admin API writes to, if the configuration comes from a store."""
    file: FileSource | None = None
    """Where the settings stand when the configuration comes from a store."""


def open_config(
    config: ConfigArg = None,
    environ: Mapping[str, str] = os.environ,
    *,
    is_process: bool = False,
) -> Opened:
    """Find settings and source.

    With etcd or a store in the settings, resources come from there and those of the file are only
    read. ``is_process``: the gateway has listeners of its own, and with them an Admin API, which
    needs a store. Raises InvalidConfig with every problem of settings and form, SourceError for a
    file that cannot be read.
    """
    for variable in unknown_variables(environ):
        logger.warning("%s: there is no such setting", variable)
    if config is None:
        how = chosen(environ)
        if how != FILE:
            document = read_environment(environ)
            opened = _opened(document.settings, document.resources, "env", is_process)
            if is_process and how is None and opened.store is None:
                logger.warning("nothing is configured: without routes everything is answered 404")
            return opened
        config = environ[FILE]
    if isinstance(config, Settings):
        return _opened(config, {}, "settings", is_process)
    if isinstance(config, Mapping):
        document = read_document(deepcopy(dict(config)))
        return _opened(document.settings, document.resources, "dict", is_process)
    file = FileSource(config, environ=environ)
    document = file.document
    return _opened(document.settings, document.resources, "yaml", is_process, file)


def open_store(settings: Settings) -> Store | None:
    """Return the store that the settings name; None when there is none. Raises ConfigError."""
    if settings.etcd is not None:
        return EtcdStore(EtcdClient(_etcd_options(settings.etcd)), settings.etcd.prefix)
    if settings.store is not None:
        return SQLiteStore(path_of(settings.store))
    return None


def _opened(
    settings: Settings,
    resources: Resources,
    name: str,
    is_process: bool,
    file: FileSource | None = None,
) -> Opened:
    if is_process:
        settings = _writable(settings, resources)
    else:
        _tell_unused(settings)
    store = open_store(settings)
    if store is None:
        return Opened(settings, file or FixedSource(resources), name)
    if count := sum(map(len, resources.values())):
        text = "the configuration's own resources (%d) are not used: they come from the %s store"
        logger.warning(text, count, store.name)
    return Opened(settings, StoreSource(store), store.name, store, file)


def _tell_unused(settings: Settings) -> None:
    given = [
        name
        for name in _OF_THE_PROCESS
        if name in settings.model_fields_set and getattr(settings, name) is not None
    ]
    if given:
        text = "in-process these settings have no effect, they are those of pingsix-asgi run: %s"
        logger.warning(text, ", ".join(given))


def _writable(settings: Settings, resources: Resources) -> Settings:
    """Give the Admin API a store to write to where the settings name none.

    Resources given beside it would hide what is written, so then they count and it is off, as in
    PingSIX.
    """
    if settings.admin is None or settings.etcd is not None or settings.store is not None:
        return settings
    if any(resources.values()):
        logger.warning("the Admin API is off: the configuration itself holds the resources")
        return settings.model_copy(update={"admin": None})
    return settings.model_copy(update={"store": DEFAULT_STORE})


def _etcd_options(etcd: Etcd) -> EtcdOptions:
    return EtcdOptions(
        endpoints=etcd.host,
        timeout_s=etcd.timeout,
        connect_timeout_s=etcd.connect_timeout,
        user=etcd.user,
        password=etcd.password,
        tls=_tls(etcd),
        server_name=etcd.tls.domain if etcd.tls else None,
    )


def _tls(etcd: Etcd) -> ssl.SSLContext | None:
    if etcd.tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=etcd.tls.ca_cert)
        if etcd.tls.client_cert is not None:
            context.load_cert_chain(etcd.tls.client_cert, etcd.tls.client_key)
    except (OSError, ssl.SSLError) as error:
        raise SourceError(f"etcd.tls: {error}") from error
    return context
