"""Judge one document as the data plane would compile it, without touching what is in force."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import SchemaError
from ..model.base import problems
from ..model.upstream import Upstream
from ..plugin.registry import Registry
from ..tls.contexts import check_client_pair
from ..types import JSON
from .certificate import refuse_named
from .compile import Compiler


def check_document(kind: str, id: str, document: JSON, registry: Registry) -> list[SchemaError]:
    """Return everything that is wrong with a document: fields, plugin confs, paths, expressions.

    References to other resources are judged by ``model.resources.check_references``.
    """
    made = Compiler(registry, None).compile(kind, id, document)
    if isinstance(made, list):
        return made
    return list(_inline_upstreams(kind, id, document))


def _inline_upstreams(kind: str, id: str, document: JSON) -> Iterator[SchemaError]:
    """Judge the upstreams written inside traffic-split, which set-up would compile."""
    conf = (document.get("plugins") or {}).get("traffic-split")
    rules = conf.get("rules") if isinstance(conf, dict) else None
    for number, rule in enumerate(rules or ()):
        for index, share in enumerate(rule.get("weighted_upstreams") or ()):
            if share.get("upstream") is not None:
                at = f"plugins.traffic-split.rules.{number}.weighted_upstreams.{index}.upstream"
                found = problems(Upstream, share["upstream"], kind=kind, id=id, at=at)
                if isinstance(found, list):
                    yield from found
                    continue
                try:
                    refuse_named(found)
                    check_client_pair(found)
                except SchemaError as error:
                    yield SchemaError(error.message, kind=kind, id=id, path=f"{at}.{error.path}")
