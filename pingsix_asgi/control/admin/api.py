"""The Admin API as an ASGI app: who may, what is meant, which verb answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ...clock import Clock, SystemClock
from ...config.store import Store
from ...errors import SourceError
from ...model.setting_sections import Admin
from ...plugin.registry import Registry
from ...types import JSON, RawHeaders, Receive, Scope, Send
from .access import Access
from .exchange import Encoded, Refusal, Request, answer, parse_head, read_body, refused
from .kinds import KINDS
from .repository import Keyring, Repository
from .resources import Answer, Place, ResourceAPI
from .validation import Schemas

log = logging.getLogger("pingsix_asgi.control.admin")

_METHODS = frozenset(("GET", "PUT", "POST", "PATCH", "DELETE"))


class AdminAPI:
    """Serves ``/apisix/admin``; every other path is 404.

    ``keyring`` seals secrets in the store; without one they are kept as they are. ``in_force``
    waits until a revision of the store is in force: a write is answered after that.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        options: Admin,
        *,
        keyring: Keyring | None = None,
        clock: Clock | None = None,
        in_force: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        repository = self._repository = Repository(store, registry, keyring)
        self._in_force = in_force
        self._access = Access(options)
        self._resources = ResourceAPI(repository, registry, clock or SystemClock())
        self._schemas = Schemas(registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers: RawHeaders = []
        document: JSON | Encoded
        try:
            request = parse_head(scope)
            if request is None:
                raise refused(404, "not found")
            headers = self._access.cors(request)
            status, document = await self._answer(request, receive)
        except Refusal as refusal:
            status, document = refusal.status, refusal.document
        except SourceError as error:
            log.warning("the store failed: %s", error)
            status, document = 503, {"error_msg": str(error)}
        except Exception:  # the root of a request: the answer must not tell, the log must
            log.exception("the Admin API failed")
            status, document = 500, {"error_msg": "internal server error"}
        if scope["method"] == "HEAD":
            document = None
        await answer(send, status, document, headers)

    async def _answer(self, request: Request, receive: Receive) -> Answer:
        if request.method == "OPTIONS":
            return 200, None
        self._access.check(request)
        if not request.segments and request.method in ("HEAD", "GET"):
            return 200, None
        if request.method == "HEAD":
            request = replace(request, method="GET")
        if request.method not in _METHODS:
            raise refused(404, "not found")
        kind, *rest = request.segments or ("",)
        if kind in ("plugins", "schema", "configs"):
            return await self._describe(kind, tuple(rest), request, receive)
        place = _place(request.segments)
        if not place.kind.allows(request.method):
            text = f"not supported `{request.method}` method for {place.kind.label}"
            raise refused(405, text)
        if place.sub_path and request.method != "PATCH":
            raise refused(404, "not found")
        request = await _with_body(request, receive)
        verb = getattr(self._resources, request.method.lower())
        result: Answer = await verb(place, request)
        if self._in_force is not None and request.method != "GET":
            await self._in_force(self._repository.written)
        return result

    async def _describe(
        self, kind: str, rest: tuple[str, ...], request: Request, receive: Receive
    ) -> Answer:
        """Answer what needs no store: plugins, schemas, validation."""
        match request.method, kind, rest:
            case "PUT", "plugins", ("reload",):
                return 200, "done"
            case _, "plugins", ("reload",):
                raise refused(405, "please use PUT method to reload the plugins.")
            case "GET", "plugins", _:
                return self._schemas.plugins(rest, request)
            case "POST", "schema", ("validate", *names):
                request = await _with_body(request, receive)
                return self._schemas.validate(tuple(names), request)
            case "GET", "schema", _:
                return self._schemas.schema(rest, request)
            case "POST", "configs", ("validate",):
                return self._schemas.validate_all(await _with_body(request, receive))
        raise refused(404, "not found")


async def _with_body(request: Request, receive: Receive) -> Request:
    if request.method in ("GET", "DELETE"):
        return request
    body, has_body = await read_body(receive, request.headers.get("content-length"))
    return replace(request, body=body, has_body=has_body)


def _place(segments: tuple[str, ...]) -> Place:
    """Find out what a path names. Raises Refusal."""
    match segments:
        case ("consumers", name, "credentials"):
            return Place(KINDS["credentials"], None, name)
        case ("consumers", name, "credentials", id):
            return Place(KINDS["credentials"], f"{name}/{id}", name)
        case ("secrets", manager):
            return Place(KINDS["secrets"], None, manager)
        case ("secrets", manager, id, *sub_path):
            return Place(KINDS["secrets"], f"{manager}/{id}", manager, tuple(sub_path))
        case ("stream_routes", *_):
            raise refused(400, "stream mode is disabled, can not add stream routes")
        case (name, *rest) if name in KINDS and name != "credentials":
            return Place(KINDS[name], rest[0] if rest else None, "", tuple(rest[1:]))
    raise refused(404, f"Unsupported resource type: {segments[0] if segments else ''}")
