"""Authenticate by a signed token (RFC 7519) in a header, a query argument or a cookie."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ..context import Context
from ..errors import DownstreamError
from ..http.cookies import cookie, without_cookie
from ..http.query import argument, arguments, without_argument
from ..http.response import Response, json_reply
from ..model.base import Located
from ..model.fields import Unique, is_reference
from ..plugin.base import Host, Plugin, PluginConf, Reply
from ..plugin.consumer import attach, attach_anonymous, attach_nobody
from ..plugin.credentials import sole
from ..plugin.encoded import from_base64
from ..plugin.fields import Realm

try:
    import jwt
    from jwt.types import Options
except ImportError as error:  # pragma: no cover - the message is the behaviour
    raise ImportError("it needs: pip install 'pingsix-asgi[jwt]'") from error

logger = logging.getLogger("pingsix_asgi.plugins.jwt_auth")

# fmt: off
Algorithm: TypeAlias = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512",
    "PS256", "PS384", "PS512", "EdDSA",
]
# fmt: on
_SIGNATURE_ONLY: Options = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class _Keys(PluginConf):
    """How tokens are signed; the same fields on a consumer and, as in PingSIX, on a route."""

    secret: Annotated[str, Field(min_length=1)] | None = None
    """Key of the HS algorithms."""
    algorithm: Algorithm = "HS256"
    """The only algorithm that tokens may be signed with."""
    base64_secret: bool = False
    """``secret`` is base64."""
    public_key: Annotated[str, Field(min_length=1)] | None = None
    """Key of the other algorithms, PEM."""
    lifetime_grace_period: Annotated[int, Field(ge=0)] = 0
    """Seconds that clocks may differ."""

    def _check_keys(self) -> None:
        if self.algorithm.startswith("HS"):
            if self.secret is None:
                text = 'property "secret" is required when "algorithm" is "HS256" or "HS512"'
                raise Located(text, "secret")
            if self.base64_secret and not is_reference(self.secret):
                _decoded(self.secret)
        elif self.public_key is None:
            text = "value should match only one schema, but matches none"
            raise Located(
                f'failed to validate dependent schema for "algorithm": {text}', "public_key"
            )

    @property
    def is_kept_elsewhere(self) -> bool:
        """Whether the key is a reference, which cannot be judged."""
        return any(is_reference(key) for key in (self.secret, self.public_key) if key)


class JwtAuth(Plugin):
    """Verify a token with the key of the consumer that its ``key`` claim names.

    With ``secret`` or ``public_key`` in the route's conf no consumer is needed (PingSIX).
    A request that repeats the header or the argument gets 400. Source: apisix/plugins/jwt-auth.lua.
    """

    name = "jwt-auth"
    priority = 2510
    kind = "auth"
    encrypted = ("secret",)
    consumer_key = "key"

    class Conf(_Keys):
        header: str = "authorization"
        """Header with the token, with or without ``Bearer``."""
        query: str = "jwt"
        """Query argument with the token, where there is no header; "" for none."""
        cookie: str = "jwt"
        """Cookie with the token, where there is neither; "" for none."""
        key_claim_name: Annotated[str, Field(min_length=1)] = "key"
        """Claim that names the consumer's ``key``."""
        hide_credentials: bool = False
        """Do not pass the token on."""
        store_in_ctx: bool = False
        """Keep the claims in the variable ``jwt_auth_payload``."""
        realm: Realm = "jwt"
        """Realm of the challenge in a 401."""
        claims_to_verify: Unique[Literal["exp", "nbf"]] | None = None
        """Claims that must be there and hold; unset: both are checked if there."""
        anonymous_consumer: Annotated[str, Field(min_length=1)] | None = None
        """Consumer that requests without a valid token are taken for."""
        iss: str | None = None
        """Issuer that tokens must name."""
        aud: str | None = None
        """Audience that tokens must name."""
        required_claims: list[str] = Field(default_factory=list)
        """Claims that must be there."""

        @model_validator(mode="after")
        def _own_key(self) -> Self:
            if self.secret is not None or self.public_key is not None:
                self._check_keys()
                if not self.is_kept_elsewhere:
                    _Verifier(self)
            return self

    class ConsumerConf(_Keys):
        key: Annotated[str, Field(min_length=1)]
        """What tokens name the consumer by."""
        exp: Annotated[int, Field(ge=1)] = 86400
        """Kept for compatibility; verification does not use it."""

        @model_validator(mode="after")
        def _needs_key(self) -> Self:
            self._check_keys()  # APISIX takes any text for a consumer's public_key
            return self

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._header = conf.header.lower().encode()
        self._challenge = f'Bearer realm="{conf.realm}"'.encode()
        self._required = {*conf.required_claims, *(conf.claims_to_verify or ())}
        has_own = conf.secret is not None or conf.public_key is not None
        self._own = _Verifier(conf) if has_own and not conf.is_kept_elsewhere else None
        self._verifiers: dict[int, _Verifier] = {}

    def setup(self, host: Host) -> None:
        self._consumers = host.consumers(self.name)
        self._now = host.clock.time

    def rewrite(self, ctx: Context) -> Reply:
        problem = self._authenticate(ctx)
        if problem is None:
            return None
        if self._conf.anonymous_consumer is None:
            return self._refusal(problem)
        return attach_anonymous(
            ctx, self._consumers, self._conf.anonymous_consumer, self._challenge
        )

    def _authenticate(self, ctx: Context) -> str | None:
        """Attach the caller. Returns what is wrong, or None."""
        token = self._take_token(ctx)
        if not token:
            return "Missing JWT token in request"
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, UnicodeEncodeError):
            return "JWT token invalid"
        verifier, found = self._own, None
        if verifier is None:
            key = claims.get(self._conf.key_claim_name)
            if not isinstance(key, str) or not key:
                return "missing user key in JWT token"
            found = self._consumers.find(key)
            if found is None:
                return "Invalid user key in JWT token"
            try:
                verifier = self._verifier(found.conf)
            except Located as error:
                logger.warning("consumer %s: %s", found.consumer.username, error)
                return "failed to verify jwt"
        if not (verifier.accepts(token) and self._claims_hold(claims, verifier.leeway)):
            return "failed to verify jwt"
        if self._conf.store_in_ctx:
            kept = {k: v for k, v in claims.items() if k not in ("exp", "iat", "nbf")}
            ctx.set_var("jwt_auth_payload", kept)
        if found is not None:
            attach(ctx, found.consumer)
        else:
            attach_nobody(ctx)
        return None

    def _take_token(self, ctx: Context) -> str | None:
        """Find the token: header, query, cookie; with hide_credentials take it away."""
        request, hide = ctx.request, self._conf.hide_credentials
        value = sole(request.headers, self._header)
        if value is not None:
            if hide:
                request.headers.remove(self._header)
            text = value.decode("latin-1")
            return text[7:] if text[:7] in ("Bearer ", "bearer ") else text
        found = argument(request.query, self._conf.query) if self._conf.query else None
        if found:
            if isinstance(arguments(request.query)[self._conf.query], list):
                raise DownstreamError(f"the argument {self._conf.query} is there several times")
            if hide:
                request.query = without_argument(request.query, self._conf.query)
            return found
        found = cookie(request.headers, self._conf.cookie) if self._conf.cookie else None
        if found and hide:
            without_cookie(request.headers, self._conf.cookie)
        return found

    def _claims_hold(self, claims: dict[str, Any], leeway: int) -> bool:
        if not all(name in claims for name in self._required):
            return False
        conf, now = self._conf, self._now()
        if conf.iss is not None and claims.get("iss") != conf.iss:
            return False
        audience = claims.get("aud")
        listed = audience if isinstance(audience, list) else [audience]
        if conf.aud is not None and conf.aud not in listed:
            return False
        checked = conf.claims_to_verify or ("exp", "nbf")
        if "exp" in checked and "exp" in claims and not _after(claims["exp"], now - leeway):
            return False
        return not ("nbf" in checked and "nbf" in claims) or _before(claims["nbf"], now + leeway)

    def _verifier(self, conf: _Keys) -> _Verifier:
        """Return the verifier for a consumer's conf; keys are parsed once."""
        verifier = self._verifiers.get(id(conf))
        if verifier is None or verifier.conf is not conf:
            verifier = self._verifiers[id(conf)] = _Verifier(conf)
        return verifier

    def _refusal(self, problem: str) -> Response:
        return json_reply(401, {"message": problem}, [(b"www-authenticate", self._challenge)])


class _Verifier:
    """Checks signatures with one key and exactly one algorithm. Raises Located for a bad key."""

    def __init__(self, conf: _Keys) -> None:
        self.conf = conf
        self.leeway = conf.lifetime_grace_period
        self._algorithm = conf.algorithm
        algorithm = jwt.get_algorithm_by_name(conf.algorithm)
        key: str | bytes = conf.public_key or ""
        field = "public_key"
        if conf.algorithm.startswith("HS"):
            key = _decoded(conf.secret or "") if conf.base64_secret else conf.secret or ""
            field = "secret"
        try:
            self._key = algorithm.prepare_key(key)
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise Located(f"unusable key: {error}", field) from None
        if hasattr(self._key, "public_key"):  # as private keys have
            raise Located("unusable key: a private one", "public_key")

    def accepts(self, token: str) -> bool:
        try:
            jwt.decode(token, self._key, algorithms=[self._algorithm], options=_SIGNATURE_ONLY)
        except jwt.PyJWTError:
            return False
        return True


def _decoded(secret: str) -> bytes:
    try:
        return from_base64(secret)
    except ValueError:
        text = "base64_secret required but the secret is not in base64 format"
        raise Located(text, "secret") from None


def _after(claim: object, limit: float) -> bool:
    return isinstance(claim, int | float) and claim > limit


def _before(claim: object, limit: float) -> bool:
    return isinstance(claim, int | float) and claim < limit
