"""cors: preflights, labels, origins by list, regex and metadata."""

from __future__ import annotations

from typing import Any

import pytest

from pingsix_asgi.errors import SchemaError
from pingsix_asgi.middleware.cors import Cors
from pingsix_asgi.middleware.key_auth import KeyAuth
from pingsix_asgi.testing import Answer, Client, EchoApp, alone, together

ALL_METHODS = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE"
NAMED = {
    "allow_origins": "http://sub.domain.com,http://sub2.domain.com",
    "allow_methods": "GET,POST",
    "allow_headers": "headr1,headr2",
    "expose_headers": "ex-headr1,ex-headr2",
    "max_age": 50,
    "allow_credential": True,
}


def labels(answer: Answer) -> dict[str, str]:
    """Return the response's CORS headers by their short names."""
    prefix = b"access-control-"
    found = {k.decode(): v.decode() for k, v in answer.headers if k.startswith(prefix)}
    found = {name.removeprefix("access-control-"): value for name, value in found.items()}
    for extra in ("vary", "timing-allow-origin"):
        value = answer.header(extra)
        if value is not None:
            found[extra] = value
    return found


@pytest.mark.parametrize(
    ("options", "headers", "expected"),
    [
        pytest.param(
            {},
            {},
            {"allow-origin": "*", "allow-methods": "*", "allow-headers": "*", "max-age": "5"},
            id="default",
        ),
        pytest.param(
            NAMED,
            {"origin": "http://sub2.domain.com"},
            {
                "allow-origin": "http://sub2.domain.com",
                "allow-methods": "GET,POST",
                "allow-headers": "headr1,headr2",
                "expose-headers": "ex-headr1,ex-headr2",
                "max-age": "50",
                "allow-credentials": "true",
                "vary": "Origin",
            },
            id="listed",
        ),
        pytest.param(
            NAMED, {"origin": "http://sub3.domain.com"}, {"vary": "Origin"}, id="unlisted"
        ),
        pytest.param(NAMED, {}, {"vary": "Origin"}, id="listed, no origin"),
        pytest.param(
            {"allow_origins": "**", "allow_methods": "**", "allow_headers": "**"},
            {"origin": "https://a.com", "access-control-request-headers": "h1,h2"},
            {
                "allow-origin": "https://a.com",
                "allow-methods": ALL_METHODS,
                "allow-headers": "h1,h2",
                "max-age": "5",
                "vary": "Origin",
            },
            id="force",
        ),
        pytest.param(
            {"allow_origins": "**", "allow_methods": "**", "allow_headers": "**"},
            {},
            {"allow-origin": "*", "allow-methods": ALL_METHODS, "max-age": "5", "vary": "Origin"},
            id="force, no origin",
        ),
        pytest.param(
            {"allow_origins_by_regex": [".*\\.domain.com$"]},
            {"origin": "http://x.test.com"},
            {},
            id="regex misses: nothing, no vary",
        ),
        pytest.param(
            {"allow_origins_by_regex": ["^https?://a$", ".*\\.domain.com$"]},
            {"origin": "http://sub.domain.com"},
            {
                "allow-origin": "http://sub.domain.com",
                "allow-methods": "*",
                "allow-headers": "*",
                "max-age": "5",
            },
            id="regex hits",
        ),
        pytest.param(
            {"timing_allow_origins": "http://t.com"},
            {"origin": "http://t.com"},
            {
                "allow-origin": "*",
                "allow-methods": "*",
                "allow-headers": "*",
                "max-age": "5",
                "timing-allow-origin": "http://t.com",
            },
            id="timing",
        ),
        pytest.param(
            {"allow_origins": "http://one.com", "timing_allow_origins_by_regex": ["t\\.com"]},
            {"origin": "http://t.com"},
            {"timing-allow-origin": "http://t.com", "vary": "Origin"},
            id="timing by regex, not allowed",
        ),
    ],
)
async def test_labels(options: Any, headers: dict[str, str], expected: dict[str, str]) -> None:
    assert labels(await Client(alone(Cors, **options)).get("/", headers)) == expected


async def test_labels_replace_those_of_the_target_and_vary_adds() -> None:
    sent = {
        "access-control-allow-origin": "http://old",
        "access-control-allow-methods": "OLD",
        "access-control-allow-headers": "old",
        "access-control-max-age": "1",
        "access-control-allow-credentials": "false",
        "vary": "Via",
    }
    app = alone(Cors, EchoApp(headers=sent), **{**NAMED, "expose_headers": ""})
    answer = await Client(app).get("/", {"origin": "http://sub.domain.com"})
    assert answer.all("access-control-allow-origin") == ["http://sub.domain.com"]
    assert answer.all("access-control-allow-credentials") == ["true"]
    assert answer.header("access-control-expose-headers") is None
    assert answer.header("vary") == "Via, Origin"


async def test_options_is_answered_here_and_does_not_reach_the_target() -> None:
    app = EchoApp()
    answer = await Client(alone(Cors, app)).request("OPTIONS", "/")
    assert (answer.status, answer.body) == (200, b"")
    assert labels(answer)["allow-origin"] == "*"
    assert app.scopes == []
    refused = await Client(alone(Cors, app, **NAMED)).request("OPTIONS", "/")
    assert (refused.status, labels(refused)) == (200, {"vary": "Origin"})


async def test_labels_are_on_the_refusal_of_an_auth_plugin() -> None:
    app = together({Cors: {"allow_origins": "**"}, KeyAuth: {}})
    answer = await Client(app).get("/", {"origin": "https://a.com"})
    assert answer.status == 401
    assert labels(answer)["allow-origin"] == "https://a.com"


METADATA = {"cors": {"allow_origins": {"k1": "https://d.com", "k2": "https://s.com", "k3": "*"}}}


@pytest.mark.parametrize(
    ("options", "origin", "allowed"),
    [
        ({"allow_origins_by_metadata": ["k1"]}, "https://d.com", "https://d.com"),
        ({"allow_origins_by_metadata": ["k1"]}, "https://x.com", None),
        ({"allow_origins_by_metadata": ["k1", "k2"]}, "https://s.com", "https://s.com"),
        ({"allow_origins_by_metadata": ["k3"]}, "https://x.com", "https://x.com"),
        (
            {"allow_origins": "https://t.com", "allow_origins_by_metadata": ["k1"]},
            "https://t.com",
            "https://t.com",
        ),
        ({"allow_origins_by_metadata": ["unknown"]}, "https://d.com", None),
    ],
)
async def test_origins_of_the_metadata(options: Any, origin: str, allowed: str | None) -> None:
    app = together({Cors: options}, metadata=METADATA)
    answer = await Client(app).get("/", {"origin": origin})
    assert answer.header("access-control-allow-origin") == allowed


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "**",
        "null",
        "http://y.com.uk",
        "https://x.com,http://y.com.uk:12000",
    ],
)
def test_good_origins(origins: str) -> None:
    alone(Cors, allow_origins=origins, timing_allow_origins=origins)


@pytest.mark.parametrize(
    "origins",
    [
        "",
        "*a",
        "*,http://y.com",
        "nulll",
        "http//y.com.uk",
        "x.com",
        "https://x.com,y.com.uk",
        "https://x.com,*,https://y.com.uk",
        "https://x.com,http://y.com.uk,http:c.tv",
    ],
)
def test_bad_origins(origins: str) -> None:
    with pytest.raises(SchemaError, match="failed to match pattern"):
        alone(Cors, allow_origins=origins)


@pytest.mark.parametrize(
    "options",
    [{}, {"allow_origins": "**"}, {"allow_origins": "**", "allow_methods": "**"}],
)
def test_credentials_need_names(options: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="you can not set '\\*' for other option"):
        alone(Cors, allow_credential=True, **options)


def test_a_bad_regex_is_named() -> None:
    with pytest.raises(SchemaError) as caught:
        alone(Cors, allow_origins_by_regex=["ok", "("])
    assert "allow_origins_by_regex" in str(caught.value)


async def test_vary_with_patterns_as_the_page_says() -> None:
    patterns = ["^https://a[.]test$"]
    for allow_origins, vary in (("*", None), ("**", "Origin")):
        app = alone(Cors, allow_origins=allow_origins, allow_origins_by_regex=patterns)
        allowed = await Client(app).get("/", {"origin": "https://a.test"})
        other = await Client(app).get("/", {"origin": "https://b.test"})
        assert (allowed.header("vary"), other.header("vary")) == (vary, vary)
        assert allowed.header("access-control-allow-origin") == "https://a.test"
        assert other.header("access-control-allow-origin") is None
