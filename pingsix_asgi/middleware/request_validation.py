"""Check request headers and bodies against JSON Schemas."""

from __future__ import annotations

import json
from typing import Annotated, Any, Self
from urllib.parse import unquote_plus

from pydantic import Field, model_validator

from ..context import Context
from ..errors import ConfigError, DownstreamError, SchemaError
from ..http.response import Response, error_page, text_reply
from ..model.base import json_type
from ..plugin.base import Plugin, PluginConf, Reply
from ..types import JSON

try:
    from jsonschema import Draft202012Validator, validators
    from jsonschema.exceptions import SchemaError as BadSchema
except ImportError as error:  # pragma: no cover - the message is the behaviour
    raise ConfigError("request-validation needs the extra pingsix-asgi[validation]") from error


class RequestValidation(Plugin):
    """Refuse what does not match, with the reason as plain text.

    A JSON body goes on as it was parsed and written again, so that the upstream cannot read it
    otherwise than we did. Source: apisix/plugins/request-validation.lua.
    """

    name = "request-validation"
    priority = 2800

    class Conf(PluginConf):
        header_schema: dict[str, Any] | None = None
        body_schema: dict[str, Any] | None = None
        max_req_body_size: Annotated[int, Field(ge=1)] = 67108864
        rejected_code: Annotated[int, Field(ge=200, le=599)] = 400
        rejected_msg: Annotated[str, Field(min_length=1, max_length=256)] | None = None

        @model_validator(mode="after")
        def _some_schema(self) -> Self:
            if self.header_schema is None and self.body_schema is None:
                raise ValueError(
                    'object matches none of the required: ["body_schema"] or ["header_schema"]'
                )
            return self

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._headers = _validator(conf.header_schema, "header_schema")
        self._body = _validator(conf.body_schema, "body_schema")

    async def rewrite(self, ctx: Context) -> Reply:
        if self._headers is not None:
            problem = _problem(self._headers, _header_document(ctx))
            if problem is not None:
                return self._refusal(problem)
        return await self._check_body(ctx) if self._body is not None else None

    async def _check_body(self, ctx: Context) -> Reply:
        try:
            body = await ctx.read_body(self._conf.max_req_body_size)
        except DownstreamError as error:
            if error.status != 413:
                raise
            return self._refusal("")
        types = ctx.request.headers.getlist(b"content-type")
        if not body or len(types) > 1:
            return self._refusal("")
        is_form = types and types[0].lower().startswith(b"application/x-www-form-urlencoded")
        try:
            document = _form(body) if is_form else json.loads(body, strict=False)
        except ValueError as error:
            return self._refusal(str(error))
        problem = _problem(self._body, document)
        if problem is not None:
            return self._refusal(problem)
        if not is_form:
            written = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
            ctx.replace_body(written)
            ctx.request.headers.set(b"content-length", b"%d" % len(written))
            ctx.request.headers.remove(b"transfer-encoding")
        return None

    def _refusal(self, problem: str) -> Response:
        text = self._conf.rejected_msg or problem
        code = self._conf.rejected_code
        return text_reply(code, text) if text else error_page(code)


def _validator(schema: dict[str, Any] | None, field: str) -> Any:
    if schema is None:
        return None
    portable = _portable(schema)
    kind = validators.validator_for(portable, default=Draft202012Validator)
    try:
        kind.check_schema(portable)
    except BadSchema as error:
        raise SchemaError(_what_is_bad(error), path=field) from None
    return kind(portable)


def _portable(schema: JSON) -> JSON:
    """Spell the types that only Lua has in JSON Schema's: no JSON value is a function."""
    if isinstance(schema, list):
        return [_portable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _portable(value) for name, value in schema.items()}
    match found.get("type"):
        case "table":
            found["type"] = ["object", "array"]
        case "function":
            del found["type"]
            return {"allOf": [found, {"not": {}}]}
    return found


def _what_is_bad(error: BadSchema) -> str:
    """Word a fault of a schema as APISIX does."""
    if error.absolute_path and error.absolute_path[-1] == "type":
        return f"invalid JSON type: {error.instance}"
    if error.validator == "type" and error.validator_value == "array":
        return f"table expected, got {json_type(error.instance)}"
    return str(error.message)


def _header_document(ctx: Context) -> JSON:
    document: dict[str, Any] = {}
    for name, value in ctx.request.headers:
        _add(document, name.decode("latin-1"), value.decode("latin-1"))
    return document


def _form(body: bytes) -> JSON:
    """Decode a form: repeated fields are a list, a field without "=" is true."""
    document: dict[str, Any] = {}
    for part in body.decode("utf-8").split("&"):
        name, equals, value = part.partition("=")
        if name:
            _add(document, unquote_plus(name), unquote_plus(value) if equals else True)
    return document


def _add(document: dict[str, Any], name: str, value: str | bool) -> None:
    if name not in document:
        document[name] = value
    elif isinstance(document[name], list):
        document[name].append(value)
    else:
        document[name] = [document[name], value]


def _problem(validator: Any, document: JSON) -> str | None:
    error: Any = next(validator.iter_errors(document), None)
    if error is None:
        return None
    chain = "".join(
        f"failed to validate item {part + 1}: "
        if isinstance(part, int)
        else f'property "{part}" validation failed: '
        for part in error.absolute_path
    )
    if error.validator == "required":
        missing = next(field for field in error.validator_value if field not in error.instance)
        return f'{chain}property "{missing}" is required'
    return f"{chain}{_WORDS.get(str(error.validator), lambda e: e.message)(error)}"


_WORDS: dict[str, Any] = {
    "type": lambda e: f"wrong type: expected {e.validator_value}, got {json_type(e.instance)}",
    "enum": lambda e: "matches none of the enum values",
    "pattern": lambda e: f'failed to match pattern "{e.validator_value}" with "{e.instance}"',
    "minimum": lambda e: f"expected {e.instance} to be at least {e.validator_value}",
    "maximum": lambda e: f"expected {e.instance} to be at most {e.validator_value}",
    "minLength": lambda e: (
        f"string too short, expected at least {e.validator_value}, got {len(e.instance)}"
    ),
    "maxLength": lambda e: (
        f"string too long, expected at most {e.validator_value}, got {len(e.instance)}"
    ),
}
