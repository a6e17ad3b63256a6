"""The configuration from environment variables alone, down to a sidecar in one line.

``PINGSIX_CONFIG`` holds a document as YAML or JSON, ``PINGSIX_CONFIG_FILE`` names a file with one.
Instead, ``PINGSIX_UPSTREAM`` and ``PINGSIX_PLUGINS`` make one route for everything: the first lists
URLs of nodes, the second is a JSON object of plugin confs.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from ..errors import InvalidConfig, SchemaError, SourceError
from ..settings import Settings
from ..types import JSON
from .document import Document, read_document
from .yaml_text import read_text

INLINE, FILE = "PINGSIX_CONFIG", "PINGSIX_CONFIG_FILE"
UPSTREAM, PLUGINS = "PINGSIX_UPSTREAM", "PINGSIX_PLUGINS"
_OTHERS = frozenset(
    (
        INLINE,
        FILE,
        UPSTREAM,
        PLUGINS,
        "PINGSIX_LOG_LEVEL",
        "PINGSIX_SHARED_DIR",
        "PINGSIX_ADMIN_URL",
        "PINGSIX_WORKER",
    )
)
"""Variables that are no settings, but read somewhere."""
ROUTE_ID = "default"
"""Id of the route that the one-line form makes."""


def chosen(environ: Mapping[str, str]) -> str | None:
    """Return which variable configures the gateway, None for none.

    Raises InvalidConfig when several do.
    """
    given = [name for name in (INLINE, FILE) if environ.get(name)]
    if environ.get(UPSTREAM) or environ.get(PLUGINS):
        given.append(UPSTREAM)
    if len(given) > 1:
        text = f"{' and '.join(given)} exclude each other"
        raise InvalidConfig([SchemaError(text, kind="environment")])
    return given[0] if given else None


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return variables that look like settings and are none: most are misspelt."""
    known = {*_OTHERS, *(f"PINGSIX_{name.upper()}" for name in Settings.model_fields)}
    return sorted(
        name
        for name in environ
        if name.upper().startswith("PINGSIX_") and name.upper().partition("__")[0] not in known
    )


def read_environment(environ: Mapping[str, str]) -> Document:
    """Read the document the environment holds. Raises InvalidConfig with every problem."""
    name = chosen(environ)
    if name is None:
        return read_document({})
    try:
        document = read_text(environ[INLINE], environ) if name == INLINE else one_liner(environ)
    except SourceError as error:
        raise InvalidConfig([SchemaError(str(error), kind=name)]) from None
    except SchemaError as error:
        raise InvalidConfig([SchemaError(error.message, kind=error.kind or name)]) from None
    return read_document(document)


def one_liner(environ: Mapping[str, str]) -> JSON:
    """Return a document with one route for every path. Raises SchemaError."""
    route: dict[str, JSON] = {"id": ROUTE_ID, "uri": "/*"}
    urls = environ.get(UPSTREAM)
    if urls:
        route["upstream"] = _upstream(urls)
    plugins = environ.get(PLUGINS)
    if plugins:
        try:
            confs = read_text(plugins, environ)
        except (SourceError, SchemaError) as error:
            raise SchemaError(str(error), kind=PLUGINS) from None
        if not isinstance(confs, dict):
            raise SchemaError("expected an object of plugin confs", kind=PLUGINS)
        route["plugins"] = confs
    return {"routes": [route]}


def _upstream(urls: str) -> JSON:
    nodes: dict[str, int] = {}
    schemes = set()
    for text in (part.strip() for part in urls.split(",")):
        url = urlsplit(text if "://" in text else f"http://{text}")
        if url.scheme not in ("http", "https") or not url.netloc or url.path not in ("", "/"):
            reason = "expected http://host:port or https://host:port"
            raise SchemaError(f'"{text}": {reason}', kind=UPSTREAM)
        schemes.add(url.scheme)
        nodes[url.netloc] = 1
    if len(schemes) > 1:
        raise SchemaError("http and https nodes cannot be mixed", kind=UPSTREAM)
    return {"scheme": schemes.pop(), "nodes": nodes}
