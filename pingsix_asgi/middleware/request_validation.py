"""Check request headers and bodies against JSON Schemas."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from itertools import combinations
from typing import Annotated, Any, Final, Self
from urllib.parse import unquote_plus

from pydantic import Field, model_validator

from ..context import Context
from ..errors import DownstreamError, SchemaError
from ..http.response import Response, error_page, text_reply
from ..model.base import json_type
from ..plugin.base import Plugin, PluginConf, Reply
from ..types import JSON

try:
    from jsonschema import Draft7Validator, FormatChecker, validators
    from jsonschema.exceptions import SchemaError as BadSchema
except ImportError as error:  # pragma: no cover - the message is the behaviour
    raise ImportError("it needs: pip install 'pingsix-asgi[validation]'") from error


_TABLE: Final = ["object", "array"]
_EMAIL = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+\.[A-Za-z]{2,4}")
_HOSTNAME = re.compile(r"[a-zA-Z0-9.-]+")
_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("email")
def _is_email(value: object) -> bool:
    return not isinstance(value, str) or _EMAIL.fullmatch(value) is not None


@_FORMATS.checks("hostname")
def _is_hostname(value: object) -> bool:
    return not isinstance(value, str) or _HOSTNAME.fullmatch(value) is not None


@_FORMATS.checks("ipv4", raises=ValueError)
def _is_ipv4(value: object) -> bool:
    return not isinstance(value, str) or bool(ipaddress.IPv4Address(value))


@_FORMATS.checks("ipv6", raises=ValueError)
def _is_ipv6(value: object) -> bool:
    return not isinstance(value, str) or bool(ipaddress.IPv6Address(value))


class RequestValidation(Plugin):
    """Refuse what does not match, with the reason as plain text.

    A JSON body goes on as it was parsed and written again, so that the upstream cannot read it
    otherwise than we did. A schema that does not name its draft is one of draft 7; of formats
    email, hostname, ipv4 and ipv6 are checked.
    Source: apisix/plugins/request-validation.lua, and api7/jsonschema for the reasons.
    """

    name = "request-validation"
    priority = 2800

    class Conf(PluginConf):
        header_schema: dict[str, Any] | None = None
        """JSON Schema of the headers. This or ``body_schema`` is required."""
        body_schema: dict[str, Any] | None = None
        """JSON Schema of the body."""
        max_req_body_size: Annotated[int, Field(ge=1)] = 67108864
        """Bytes; larger bodies are refused."""
        rejected_code: Annotated[int, Field(ge=200, le=599)] = 400
        """Status of a refusal."""
        rejected_msg: Annotated[str, Field(min_length=1, max_length=256)] | None = None
        """Text of a refusal; unset: the reason."""

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
            document, written = (_form(body), body) if is_form else _json(body)
            problem = _problem(self._body, document)
        except ValueError as error:
            problem = str(error)
        except RecursionError:
            problem = "nested too deeply"
        if problem is not None:
            return self._refusal(problem)
        if not is_form:
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
    kind = validators.validator_for(portable, default=Draft7Validator)
    try:
        kind.check_schema(portable)
    except BadSchema as error:
        raise SchemaError(_what_is_bad(error), path=field) from None
    return kind(portable, format_checker=_FORMATS)


def _portable(schema: JSON) -> JSON:
    """Spell the types that only Lua has in JSON Schema's: no JSON value is a function."""
    if isinstance(schema, list):
        return [_portable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # A wrong type is told before anything else, wherever the schema says it.
    names = sorted(schema, key=lambda name: name != "type")
    found = {name: _portable(schema[name]) for name in names}
    match found.get("type"):
        case "table":
            found["type"] = _TABLE
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


class _Headers(dict[str, Any]):
    """Header fields, found by any spelling of a name as nginx's are: ``X_Name`` or ``x-name``."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or super().__contains__(_field_name(str(name)))

    def __missing__(self, name: str) -> Any:
        key = _field_name(name)
        if key == name:
            raise KeyError(name)
        return self[key]


def _field_name(name: str) -> str:
    return name.lower().replace("_", "-")


def _header_document(ctx: Context) -> JSON:
    document: dict[str, Any] = {}
    for name, value in ctx.request.headers:
        _add(document, name.decode("latin-1"), value.decode("latin-1"))
    return _Headers(document)


def _json(body: bytes) -> tuple[JSON, bytes]:
    """Return a document, and how it is written. Raises ValueError, RecursionError."""
    document = json.loads(body, strict=False)
    return document, json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


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
    if error.validator is None:  # the schema is ``false``
        return "expect false always"
    if error.validator == "oneOf":
        return _where(error) + _one_of(validator, error)
    return _where(error) + _WORDS.get(error.validator, _as_it_is)(error)


def _where(error: Any) -> str:
    """Say step by step in which part of the document, and of the schema, something is wrong."""
    steps, at = iter(list(error.absolute_schema_path)[:-1]), iter(error.absolute_path)
    chain = ""
    for step in steps:
        match step:
            case "properties":
                next(steps)
                chain += f'property "{next(at)}" validation failed: '
            case "patternProperties":
                chain += f'failed to validate {next(at)} (matching "{next(steps)}"): '
            case "additionalProperties":
                chain += f"failed to validate additional property {next(at)}: "
            case "items":
                chain += f"failed to validate item {next(at) + 1}: "
            case "additionalItems":
                chain += f"failed to validate additional item {next(at) + 1}: "
            case "allOf":
                chain += f"allOf {next(steps) + 1} failed: "
            case "dependencies":
                chain += f'failed to validate dependent schema for "{next(steps)}": '
    return chain


def _one_of(validator: Any, error: Any) -> str:
    matching = [
        number
        for number, schema in enumerate(error.validator_value, 1)
        if validator.evolve(schema=schema).is_valid(error.instance)
    ]
    if not matching:
        return "value should match only one schema, but matches none"
    first, second, *_ = matching
    both = f"matches both schemas {first} and {second}"
    return f"value should match only one schema, but {both}"


def _type(error: Any) -> str:
    wanted = error.validator_value
    if wanted == _TABLE:
        wanted = "table"
    elif isinstance(wanted, list):
        wanted = f"one of {', '.join(wanted)}"
    return f"wrong type: expected {wanted}, got {json_type(error.instance)}"


def _required(error: Any) -> str:
    missing = next(name for name in error.validator_value if name not in error.instance)
    return f'property "{missing}" is required'


def _dependencies(error: Any) -> str:
    return next(
        f'property "{needed}" is required when "{name}" is set'
        for name, others in error.validator_value.items()
        if name in error.instance and isinstance(others, list)
        for needed in others
        if needed not in error.instance
    )


def _additional(error: Any) -> str:
    known, patterns = (error.schema.get(key, {}) for key in ("properties", "patternProperties"))
    found = next(
        name
        for name in error.instance
        if name not in known and not any(re.search(pattern, name) for pattern in patterns)
    )
    return f"additional properties forbidden, found {found}"


def _unique(error: Any) -> str:
    texts = [json.dumps(item, sort_keys=True) for item in error.instance]
    pairs = combinations(range(1, len(texts) + 1), 2)
    first, second = next((i, j) for i, j in pairs if texts[i - 1] == texts[j - 1])
    return f"expected unique items but items {first} and {second} are equal"


def _any_of(error: Any) -> str:
    required = [
        json.dumps(schema["required"], separators=(",", ":"))
        for schema in error.validator_value
        if isinstance(schema, dict) and "required" in schema
    ]
    return "object matches none of the required" + ": " * bool(required) + " or ".join(required)


def _as_it_is(error: Any) -> str:
    return str(error.message)


def _compared(words: str) -> Callable[[Any], str]:
    return lambda error: f"expected {error.instance} to be {words} {error.validator_value}"


def _counted(words: str) -> Callable[[Any], str]:
    return lambda error: f"expect {words.format(error.validator_value)}"


def _long(words: str) -> Callable[[Any], str]:
    return lambda e: f"string {words} {e.validator_value}, got {len(e.instance)}"


_WORDS: Final[dict[str, Callable[[Any], str]]] = {
    "type": _type,
    "required": _required,
    "dependencies": _dependencies,
    "additionalProperties": _additional,
    "additionalItems": lambda e: "found unexpected extra items in array",
    "minProperties": _counted("object to have at least {} properties"),
    "maxProperties": _counted("object to have at most {} properties"),
    "minItems": _counted("array to have at least {} items"),
    "maxItems": _counted("array to have at most {} items"),
    "uniqueItems": _unique,
    "contains": lambda e: "failed to check contains",
    "minLength": _long("too short, expected at least"),
    "maxLength": _long("too long, expected at most"),
    "pattern": lambda e: f'failed to match pattern "{e.validator_value}" with "{e.instance}"',
    "minimum": _compared("at least"),
    "maximum": _compared("at most"),
    "exclusiveMinimum": _compared("strictly greater than"),
    "exclusiveMaximum": _compared("strictly smaller than"),
    "multipleOf": _compared("a multiple of"),
    "enum": lambda e: "matches none of the enum values",
    "const": lambda e: "failed to check const value",
    "anyOf": _any_of,
    "not": lambda e: "value wasn't supposed to match schema",
    "format": lambda e: f"expect valid {e.validator_value} address but got: {e.instance}",
}
