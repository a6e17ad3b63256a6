"""basic-auth, jwt-auth, hmac-auth, multi-auth and csrf, with and without consumers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from email.utils import formatdate
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware.basic_auth import BasicAuth
from pingsix_asgi.middleware.csrf import Csrf
from pingsix_asgi.middleware.hmac_auth import HmacAuth
from pingsix_asgi.middleware.jwt_auth import JwtAuth
from pingsix_asgi.middleware.key_auth import KeyAuth
from pingsix_asgi.middleware.multi_auth import MultiAuth
from pingsix_asgi.model.base import parse
from pingsix_asgi.testing import (
    Answer,
    Client,
    EchoApp,
    FakeClock,
    FakeConsumer,
    FakeConsumers,
    together,
)


def basic(user: str, password: str, scheme: str = "Basic") -> dict[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"authorization": f"{scheme} {token}"}


FOO = FakeConsumer(
    "foo",
    "foo",
    conf=BasicAuth.ConsumerConf(username="foo", password="b:a r"),
    credential_id="cred-1",
    custom_id="42",
)
GUEST = FakeConsumer("guest")


def guarded(
    plugin: Any, consumers: FakeConsumers, app: EchoApp | None = None, **options: Any
) -> Client:
    return Client(together({plugin: options}, app, clock=CLOCK, consumers=consumers))


CLOCK = FakeClock(1_700_000_000.0)


class TestBasicAuth:
    consumers = FakeConsumers(FOO, GUEST)

    @pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
    async def test_a_consumer_is_let_in_and_named_to_the_upstream(self, scheme: str) -> None:
        app = EchoApp()
        client = guarded(BasicAuth, self.consumers, app, hide_credentials=True)
        spoofed = {**basic("foo", "b:a r", scheme), "x-consumer-username": "root"}
        answer = await client.get("/", spoofed)
        assert answer.status == 200
        assert app.header("x-consumer-username") == "foo"
        assert app.header("x-credential-identifier") == "cred-1"
        assert app.header("x-consumer-custom-id") == "42"
        assert app.header("authorization") is None

    @pytest.mark.parametrize(
        ("headers", "message"),
        [
            ({}, "Missing authorization in request"),
            ({"authorization": "Bearer x"}, "Invalid authorization in request"),
            ({"authorization": "Basic %%%"}, "Invalid authorization in request"),
            ({"authorization": "Basic Zm9v"}, "Invalid authorization in request"),
            (basic("foo", "wrong"), "Invalid user authorization"),
            (basic("nobody", "b:a r"), "Invalid user authorization"),
        ],
    )
    async def test_refusals(self, headers: dict[str, str], message: str) -> None:
        answer = await guarded(BasicAuth, self.consumers, realm="here").get("/", headers)
        assert answer.status == 401
        assert answer.json() == {"message": message}
        assert answer.header("www-authenticate") == 'Basic realm="here"'

    @pytest.mark.parametrize("options", [{}, {"anonymous_consumer": "guest"}])
    async def test_a_repeated_header_is_refused(self, options: dict[str, str]) -> None:
        """One of the lines would be checked, and all would go upstream."""
        app = EchoApp()
        client = guarded(BasicAuth, self.consumers, app, **options)
        lines = [*basic("foo", "b:a r").items(), *basic("root", "x").items()]
        assert (await client.get("/", lines)).status == 400
        assert not app.scopes

    async def test_the_anonymous_consumer_stands_in(self) -> None:
        app = EchoApp()
        client = guarded(BasicAuth, self.consumers, app, anonymous_consumer="guest")
        assert (await client.get("/")).status == 200
        assert app.header("x-consumer-username") == "guest"
        missing = guarded(BasicAuth, self.consumers, anonymous_consumer="nobody")
        assert (await missing.get("/")).json() == {"message": "Invalid user authorization"}

    async def test_credentials_in_the_conf_need_no_consumer(self) -> None:
        client = guarded(BasicAuth, FakeConsumers(), username="u", password="p")
        assert (await client.get("/", basic("u", "p"))).status == 200
        assert (await client.get("/", basic("u", "q"))).status == 401
        with pytest.raises(SchemaError, match="go together"):
            guarded(BasicAuth, FakeConsumers(), username="u")


def key_pair(make: Any) -> tuple[str, str]:
    private = make()
    return (
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    )


KEYS = {
    "RS": key_pair(lambda: rsa.generate_private_key(65537, 2048)),
    "ES256": key_pair(lambda: ec.generate_private_key(ec.SECP256R1())),
    "ES384": key_pair(lambda: ec.generate_private_key(ec.SECP384R1())),
    "ES512": key_pair(lambda: ec.generate_private_key(ec.SECP521R1())),
    "Ed": key_pair(ed25519.Ed25519PrivateKey.generate),
}
KEYS["PS"] = KEYS["RS"]
SECRET = "a-secret-that-is-long-enough-for-every-hmac-algorithm-in-the-list-0123456789"
ALGORITHMS = [
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512"),
    *("PS256", "PS384", "PS512", "EdDSA"),
]


def keys_for(algorithm: str) -> tuple[str, dict[str, Any]]:
    """Return the signing key and the consumer's key fields."""
    if algorithm.startswith("HS"):
        return SECRET, {"secret": SECRET}
    private, public = KEYS.get(algorithm) or KEYS[algorithm[:2]]
    return private, {"public_key": public}


class TestJwtAuth:
    def jack(self, algorithm: str = "HS256", **more: Any) -> FakeConsumers:
        _, fields = keys_for(algorithm)
        conf = JwtAuth.ConsumerConf(key="user-key", algorithm=algorithm, **fields, **more)
        return FakeConsumers(FakeConsumer("jack", "user-key", conf=conf))

    def token(self, algorithm: str = "HS256", **claims: Any) -> str:
        signing, _ = keys_for(algorithm)
        return jwt.encode({"key": "user-key", **claims}, signing, algorithm)

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    async def test_every_algorithm_verifies(self, algorithm: str) -> None:
        client = guarded(JwtAuth, self.jack(algorithm))
        token = self.token(algorithm)
        assert (await client.get("/", {"authorization": f"Bearer {token}"})).status == 200
        broken = token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB")
        answer = await client.get("/", {"authorization": f"Bearer {broken}"})
        assert (answer.status, answer.json()) == (401, {"message": "failed to verify jwt"})

    async def test_sources_and_hiding(self) -> None:
        app = EchoApp()
        client = guarded(JwtAuth, self.jack(), app, hide_credentials=True)
        token = self.token()
        assert (await client.get("/", {"authorization": token})).status == 200
        assert app.header("authorization") is None
        assert (await client.get(f"/?a=1&jwt={token}&b=2")).status == 200
        assert app.scopes[-1]["query_string"] == b"a=1&b=2"
        assert (await client.get("/", {"cookie": f"x=1; jwt={token}; y=2"})).status == 200
        assert app.header("cookie") == "x=1; y=2"

    @pytest.mark.parametrize("header", ["authorization", "x-token"])
    async def test_a_repeated_header_is_refused(self, header: str) -> None:
        app = EchoApp()
        client = guarded(JwtAuth, self.jack(), app, header=header, hide_credentials=True)
        assert (await client.get("/", [(header, self.token()), (header, "x")])).status == 400
        for other in ("jwt=x", "%6awt=x"):
            assert (await client.get(f"/?jwt={self.token()}&{other}")).status == 400
        assert not app.scopes

    @pytest.mark.parametrize(
        ("token", "message"),
        [
            ("", "Missing JWT token in request"),
            ("not.a.jwt", "JWT token invalid"),
            (jwt.encode({}, SECRET, "HS256"), "missing user key in JWT token"),
            (jwt.encode({"key": 5}, SECRET, "HS256"), "missing user key in JWT token"),
            (jwt.encode({"key": "else"}, SECRET, "HS256"), "Invalid user key in JWT token"),
            (jwt.encode({"key": "user-key"}, SECRET, "HS512"), "failed to verify jwt"),
            (jwt.encode({"key": "user-key"}, None, "none"), "failed to verify jwt"),
        ],
    )
    async def test_refusals(self, token: str, message: str) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        answer = await guarded(JwtAuth, self.jack()).get("/", headers)
        assert answer.status == 401
        assert answer.json() == {"message": message}
        assert answer.header("www-authenticate") == 'Bearer realm="jwt"'

    @pytest.mark.parametrize(
        ("claims", "options", "grace", "status"),
        [
            ({}, {}, 0, 200),
            ({"exp": 1}, {}, 0, 401),
            ({"exp": 0}, {"claims_to_verify": []}, 0, 401),
            ({"exp": +1}, {}, 0, 401),
            ({"exp": 1_700_000_001}, {}, 0, 200),
            ({"exp": 1_699_999_995}, {}, 10, 200),
            ({"nbf": 1_700_000_010}, {}, 0, 401),
            ({"nbf": 1_700_000_005}, {}, 10, 200),
            ({"exp": "soon"}, {}, 0, 401),
            ({}, {"claims_to_verify": ["exp"]}, 0, 401),
            ({"nbf": 1_700_000_010}, {"claims_to_verify": ["exp"]}, 0, 401),
        ],
    )
    async def test_time_claims(
        self, claims: dict[str, Any], options: dict[str, Any], grace: int, status: int
    ) -> None:
        client = guarded(JwtAuth, self.jack(lifetime_grace_period=grace), **options)
        token = jwt.encode({"key": "user-key", **claims}, SECRET, "HS256")
        assert (await client.get("/", {"authorization": token})).status == status

    async def test_a_key_in_the_conf_needs_no_consumer(self) -> None:
        client = guarded(JwtAuth, FakeConsumers(), secret=SECRET, iss="me", aud="you")
        good = jwt.encode({"iss": "me", "aud": ["us", "you"]}, SECRET, "HS256")
        bad = jwt.encode({"iss": "me", "aud": "them"}, SECRET, "HS256")
        assert (await client.get("/", {"authorization": f"bearer {good}"})).status == 200
        assert (await client.get("/", {"authorization": f"bearer {bad}"})).status == 401

    @pytest.mark.parametrize(
        ("conf", "field"),
        [
            ({"key": "k"}, "secret"),
            ({"key": "k", "algorithm": "RS256"}, "dependent schema"),
            ({"key": "k", "secret": "%", "base64_secret": True}, "base64"),
        ],
    )
    def test_unusable_consumer_confs_are_refused(self, conf: dict[str, Any], field: str) -> None:
        with pytest.raises(ValueError, match=field):
            JwtAuth.ConsumerConf(**conf)

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
    def test_a_key_that_is_none_is_refused_on_a_route_only(self, algorithm: str) -> None:
        conf = {"algorithm": algorithm, "public_key": "no key at all"}
        with pytest.raises(SchemaError, match="unusable key") as caught:
            parse(JwtAuth.Conf, conf)
        assert caught.value.path == "public_key"
        parse(JwtAuth.Conf, {**conf, "public_key": "$env://KEY"})
        parse(JwtAuth.ConsumerConf, {**conf, "key": "k"})


TOKEN = jwt.encode({"sub": "somebody"}, "s" * 40, "HS256")


class TestOwnCredentials:
    """Those in the route's conf, which name no consumer."""

    @pytest.mark.parametrize("is_nested", [False, True], ids=["alone", "in multi-auth"])
    @pytest.mark.parametrize(
        ("plugin", "options", "sent"),
        [
            (KeyAuth, {"key": "k"}, {"apikey": "k"}),
            (KeyAuth, {"keys": ["j", "k"]}, {"apikey": "k"}),
            (BasicAuth, {"username": "u", "password": "p"}, basic("u", "p")),
            (JwtAuth, {"secret": "s" * 40}, {"authorization": f"Bearer {TOKEN}"}),
        ],
        ids=["key", "keys", "password", "token"],
    )
    async def test_a_client_cannot_pretend_to_be_a_consumer(
        self, plugin: Any, options: dict[str, Any], sent: dict[str, str], is_nested: bool
    ) -> None:
        app = EchoApp()
        spoofed = dict.fromkeys(
            ("X-Consumer-Username", "X-Credential-Identifier", "X-Consumer-Custom-ID"), "root"
        )
        if is_nested:
            plugin, options = (
                MultiAuth,
                {"auth_plugins": [{"hmac-auth": {}}, {plugin.name: options}]},
            )
        client = guarded(plugin, FakeConsumers(), app, **options)
        assert (await client.get("/", {**sent, **spoofed})).status == 200
        assert not [app.header(name.lower()) for name in spoofed if app.header(name.lower())]

    async def test_a_consumer_found_by_another_plugin_stays(self) -> None:
        app = EchoApp()
        confs = {BasicAuth: {}, KeyAuth: {"key": "k"}}
        client = Client(together(confs, app, clock=CLOCK, consumers=FakeConsumers(FOO)))
        assert (await client.get("/", {**basic("foo", "b:a r"), "apikey": "k"})).status == 200
        assert app.header("x-consumer-username") == "foo"


class TestHmacAuth:
    consumers = FakeConsumers(
        FakeConsumer("jack", "john", conf=HmacAuth.ConsumerConf(key_id="john", secret_key="s3"))
    )

    def sign(
        self, algorithm: str = "hmac-sha256", headers: str = "@request-target date", **more: str
    ) -> dict[str, str]:
        date = formatdate(CLOCK.now, usegmt=True)
        lines = {"@request-target": "GET /index?a=1", "date": f"date: {date}"}
        text = "\n".join(["john", *(lines[name] for name in headers.split())]) + "\n"
        digest = getattr(hashlib, algorithm.removeprefix("hmac-"))
        signature = base64.b64encode(hmac.new(b"s3", text.encode(), digest).digest()).decode()
        value = (
            f'Signature keyId="john",algorithm="{algorithm}",headers="{headers}",'
            f'signature="{signature}"'
        )
        return {"date": date, "authorization": value, **more}

    @pytest.mark.parametrize("algorithm", ["hmac-sha1", "hmac-sha256", "hmac-sha512"])
    async def test_a_signed_request_passes(self, algorithm: str) -> None:
        app = EchoApp()
        client = guarded(HmacAuth, self.consumers, app, hide_credentials=True)
        assert (await client.get("/index?a=1", self.sign(algorithm))).status == 200
        assert app.header("x-consumer-username") == "jack"
        assert app.header("authorization") is None

    @pytest.mark.parametrize("name", ["authorization", "date"])
    async def test_a_repeated_line_is_refused(self, name: str) -> None:
        """The signature would hold for one of the lines only."""
        client = guarded(HmacAuth, self.consumers)
        lines = [*self.sign().items(), (name, "x")]
        assert (await client.get("/index?a=1", lines)).status == 400

    async def refused(self, headers: dict[str, str], **options: Any) -> Answer:
        answer = await guarded(HmacAuth, self.consumers, **options).get("/index?a=1", headers)
        assert answer.status == 401
        return answer

    async def test_format_errors_say_what_is_wrong(self) -> None:
        answer = await self.refused({})
        assert answer.json()["message"] == (
            "client request can't be validated: missing Authorization header"
        )
        answer = await self.refused({"authorization": "Basic x"})
        assert "does not start with 'Signature'" in answer.json()["message"]

    @pytest.mark.parametrize("name", ["keyId", "signature", "algorithm"])
    async def test_a_parameter_that_is_missing_is_not_told(self, name: str) -> None:
        headers = self.sign()
        headers["authorization"] = headers["authorization"].replace(f"{name}=", "other=")
        answer = await self.refused(headers)
        assert answer.json() == {"message": "client request can't be validated"}

    async def test_x_date_stands_in_for_date(self) -> None:
        headers = self.sign(headers="@request-target")
        headers["x-date"] = headers.pop("date")
        client = guarded(HmacAuth, self.consumers, signed_headers=[])
        assert (await client.get("/index?a=1", headers)).status == 200
        headers["x-date"] = formatdate(1, usegmt=True)
        assert (await client.get("/index?a=1", headers)).status == 401

    @pytest.mark.parametrize(
        ("headers", "options"),
        [
            ({"date": formatdate(1, usegmt=True)}, {}),
            ({"date": "yesterday"}, {}),
            ({"date": "Thu, 24 Sep 99999999999 06:39:52 GMT"}, {}),
            ({}, {"allowed_algorithms": ["hmac-sha512"]}),
            ({}, {"signed_headers": ["date", "x-custom"]}),
            ({}, {"validate_request_body": True}),
        ],
    )
    async def test_what_does_not_hold_is_refused_without_a_reason(
        self, headers: dict[str, str], options: dict[str, Any]
    ) -> None:
        answer = await self.refused({**self.sign(), **headers}, **options)
        assert answer.json() == {"message": "client request can't be validated"}
        assert answer.header("www-authenticate") == 'hmac realm="hmac"'

    async def test_the_body_is_checked_against_its_digest(self) -> None:
        digest = base64.b64encode(hashlib.sha256(b"body").digest()).decode()
        headers = {**self.sign(headers="date"), "digest": f"SHA-256={digest}"}
        client = guarded(HmacAuth, self.consumers, validate_request_body=True)
        assert (await client.request("POST", "/", headers=headers, body=b"body")).status == 200
        assert (await client.request("POST", "/", headers=headers, body=b"other")).status == 401
        small = guarded(HmacAuth, self.consumers, validate_request_body=True, max_req_body_size=2)
        assert (await small.request("POST", "/", headers=headers, body=b"body")).status == 413


class TestMultiAuth:
    async def test_the_first_that_succeeds_decides(self) -> None:
        plugins = [{"jwt-auth": {}}, {"basic-auth": {}}]
        client = guarded(MultiAuth, FakeConsumers(FOO), auth_plugins=plugins)
        assert (await client.get("/", basic("foo", "b:a r"))).status == 200
        answer = await client.get("/")
        assert (answer.status, answer.json()) == (401, {"message": "Authorization Failed"})
        assert answer.header("www-authenticate") == 'Basic realm="basic"'

    async def test_a_repeated_header_passes_none(self) -> None:
        plugins = [{"jwt-auth": {}}, {"basic-auth": {}}]
        client = guarded(MultiAuth, FakeConsumers(FOO), auth_plugins=plugins)
        lines = [*basic("foo", "b:a r").items()] * 2
        assert (await client.get("/", lines)).status == 400

    @pytest.mark.parametrize(
        "plugins",
        [[{"basic-auth": {}}], [{"cors": {}}, {"basic-auth": {}}], [{"none": {}}, {"none": {}}]],
    )
    def test_only_two_or_more_auth_plugins_make_sense(self, plugins: Any) -> None:
        with pytest.raises(SchemaError):
            guarded(MultiAuth, FakeConsumers(), auth_plugins=plugins)


class TestCsrf:
    async def token(self, client: Client) -> str:
        answer = await client.get("/")
        cookie = answer.header("set-cookie") or ""
        assert "SameSite=Lax" in cookie
        return cookie.partition("=")[2].partition(";")[0]

    async def test_only_the_token_of_our_cookie_lets_unsafe_methods_pass(self) -> None:
        clock = FakeClock()
        client = Client(together({Csrf: {"key": "k"}}, clock=clock))
        name = "apisix-csrf-token"
        token = await self.token(client)

        async def post(headers: dict[str, str]) -> Any:
            answer = await client.request("POST", "/", headers=headers)
            return answer.json() if answer.status == 401 else answer.status

        assert await post({}) == {"error_msg": "no csrf token in headers"}
        assert await post({name: token}) == {"error_msg": "no csrf cookie"}
        mismatch = {name: token, "cookie": f"{name}=x"}
        assert await post(mismatch) == {"error_msg": "csrf token mismatch"}
        good = {name: token, "cookie": f"{name}={token}"}
        assert await post(good) == 200
        failed = {"error_msg": "Failed to verify the csrf token signature"}
        for text in (json.dumps({"random": 1, "expires": 1, "sign": "x"}), "[" * 30000):
            forged = base64.b64encode(text.encode()).decode()
            assert await post({name: forged, "cookie": f"{name}={forged}"}) == failed
        clock.advance(7201)
        assert await post(good) == failed

    async def test_a_token_without_expiry_never_expires(self) -> None:
        clock = FakeClock()
        client = Client(together({Csrf: {"key": "k", "expires": 0, "name": "t"}}, clock=clock))
        token = await self.token(client)
        clock.advance(10**9)
        headers = {"t": token, "cookie": f"t={token}"}
        assert (await client.request("POST", "/", headers=headers)).status == 200
