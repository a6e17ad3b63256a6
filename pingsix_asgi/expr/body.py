"""Variables that read the request body, once somebody read it into the context.

``post_arg_NAME`` is a field of a url-encoded form. ``post_arg.PATH`` is a field of a JSON, form or
multipart body: dotted, or JSONPath when it has "[", "*" or "..", and then a list. ``graphql_*``
describe the operation of a GraphQL request. Without a body that was read, none has a value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..http.form import parse_multipart
from ..http.query import argument, arguments
from ..types import JSON
from .graphql import MAX_BYTES, Operation, parse_operation
from .jsonpath import compile_path
from .reader import Getter, Prefix, text

if TYPE_CHECKING:
    from ..context import Context

_PARSED = "pingsix_asgi.expr.body"
"""Where the parsed body is noted: (the bytes, what became of them)."""
_OPERATION = "pingsix_asgi.expr.body.graphql"
"""Where the parsed GraphQL operation is noted: (its source, the operation)."""
_FORM = b"application/x-www-form-urlencoded"


def body_field(name: str) -> bool:
    """Tell whether a name belongs to a family that reads the body."""
    return name.startswith(("post_arg_", "post_arg."))


def check_body_field(name: str) -> None:
    """Refuse ``post_arg.`` with a path that cannot be followed. Raises ValueError."""
    path = name.removeprefix("post_arg.")
    if path != name and any(mark in path for mark in ("[", "*", "..")):
        compile_path(path)


def _request_body(ctx: Context) -> str | None:
    return None if ctx.body is None else text(ctx.body)


def _content_type(ctx: Context) -> bytes:
    line = ctx.request.headers.get(b"content-type") or b""
    return line.partition(b";")[0].strip().lower()


def _form_field(name: str) -> Getter:
    def read(ctx: Context) -> str | None:
        if ctx.body is None or _content_type(ctx) != _FORM:
            return None
        return argument(ctx.body, name)

    return read


def _path_field(path: str) -> Getter:
    if path.startswith("."):
        path = "." + path  # "post_arg..name": the prefix took one of the two dots
    if not any(mark in path for mark in ("[", "*", "..")):
        keys = path.split(".")
        return lambda ctx: _dotted(_document(ctx), keys)
    try:
        find = compile_path(path)
    except ValueError:
        return lambda ctx: None
    return lambda ctx: None if (document := _document(ctx)) is None else find(document) or None


def _dotted(document: JSON, keys: list[str]) -> JSON:
    for key in keys:
        if not isinstance(document, dict):
            return None
        document = document.get(key)
    return document


def _document(ctx: Context) -> JSON:
    """Return the body as a JSON value, None when it is none; parsed once per body."""
    if ctx.body is None:
        return None
    known = ctx.noted(_PARSED)
    if known is None or known[0] is not ctx.body:
        known = (ctx.body, _parse(ctx))
        ctx.note(_PARSED, known)
    return known[1]


def _parse(ctx: Context) -> JSON:
    body = ctx.body or b""
    kind = _content_type(ctx)
    if kind == _FORM:
        return arguments(body)
    if kind == b"multipart/form-data":
        return parse_multipart(body, ctx.request.headers.get(b"content-type") or b"")
    if kind == b"application/json" or kind.endswith(b"+json"):
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return None
    return None


def _operation(ctx: Context) -> Operation | None:
    """Parse the GraphQL request: a GET's query argument, or a POST's body."""
    if ctx.request.method == "GET":
        source: JSON = argument(ctx.request.query, "query")
        name: JSON = argument(ctx.request.query, "operationName")
    elif ctx.request.method == "POST" and ctx.body is not None and len(ctx.body) <= MAX_BYTES:
        source, name = text(ctx.body), None
        if _content_type(ctx) == b"application/json":
            document = _document(ctx)
            source = document.get("query") if isinstance(document, dict) else None
            name = document.get("operationName") if isinstance(document, dict) else None
    else:
        return None
    if not isinstance(source, str):
        return None
    known = ctx.noted(_OPERATION)
    if known is None or known[0] != (source, name):
        known = ((source, name), _parse_operation(source, name))
        ctx.note(_OPERATION, known)
    found: Operation | None = known[1]
    return found


def _parse_operation(source: str, name: JSON) -> Operation | None:
    try:
        return parse_operation(source, name if isinstance(name, str) and name else None)
    except ValueError:
        return None


def _graphql_name(ctx: Context) -> str | None:
    operation = _operation(ctx)
    return None if operation is None else operation.name


def _graphql_operation(ctx: Context) -> str | None:
    operation = _operation(ctx)
    return None if operation is None else operation.kind


def _graphql_root_fields(ctx: Context) -> list[str] | None:
    operation = _operation(ctx)
    return None if operation is None else list(operation.root_fields)


BODY_VARIABLES: Final[Mapping[str, Getter]] = {
    "request_body": _request_body,
    "graphql_name": _graphql_name,
    "graphql_operation": _graphql_operation,
    "graphql_root_fields": _graphql_root_fields,
}
BODY_PREFIXES: Final[Mapping[str, Prefix]] = {
    "post_arg_": _form_field,
    "post_arg.": _path_field,
}
