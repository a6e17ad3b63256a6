"""Text with variables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.expr.template import Template
from support.contexts import make_context


@pytest.mark.parametrize(
    ("text", "rendered", "resolved"),
    [
        ("", "", 0),
        ("plain", "plain", 0),
        ("$arg_a", "1", 1),
        ("${arg_a}", "1", 1),
        ("x${arg_a}y$arg_a-z", "x1y1-z", 2),
        ("$arg_a$arg_b", "1", 1),
        ("${arg_b}", "", 0),
        ("${arg_b ?? none}", "none", 1),
        ("${arg_b??none}", "none", 1),
        ("${arg_b ?? }", "", 0),
        ("${arg_b ?? two words }!", "two words!", 1),
        ("${arg_a ?? none}", "1", 1),
        ("${ arg_a }", "1", 1),
        ("$arg_empty", "", 1),
        (r"\$arg_a", r"\$arg_a", 0),
        (r"\${arg_a}", r"\${arg_a}", 0),
        ("$", "$", 0),
        ("$ $- ${}", "$ $- ${}", 0),
        ("100$", "100$", 0),
        ("${unclosed", "${unclosed", 0),
        ("$post_arg.a.b", "5", 1),
        ("$list $flag $number", '["x",1] true 1.5', 3),
        ("/new$uri?$args", "/new/p?a=1&empty=", 2),
    ],
)
def test_rendering(text: str, rendered: str, resolved: int) -> None:
    ctx = make_context(
        "/p?a=1&empty=",
        method="POST",
        headers={"content-type": "application/json"},
        body=b'{"a":{"b":5}}',
    )
    ctx.vars = {"list": ["x", 1], "flag": True, "number": 1.5}
    template = Template(text)
    assert template.resolve(ctx) == (rendered, resolved)
    assert template.render(ctx) == rendered


def test_what_a_template_says_of_itself() -> None:
    constant, simple, body = Template(r"a \$b"), Template("$uri/${arg_a}"), Template("$post_arg_a")
    assert (constant.is_constant, constant.names, constant.needs_body) == (True, (), False)
    assert (simple.is_constant, simple.names) == (False, ("uri", "arg_a"))
    assert body.needs_body
    assert not simple.needs_body


def test_bytes_that_are_not_utf8_pass_through() -> None:
    ctx = make_context(headers={"x-raw": "\xff\xe9"})
    text = Template("<$http_x_raw>").render(ctx)
    assert text.encode("utf-8", "surrogateescape") == b"<\xff\xe9>"


@given(st.text())
def test_text_without_a_dollar_is_itself_and_any_text_renders(text: str) -> None:
    rendered = Template(text).render(make_context())
    if "$" not in text:
        assert rendered == text
