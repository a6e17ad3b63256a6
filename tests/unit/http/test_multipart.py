"""multipart/form-data fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingsix_asgi.http.form import MAX_PARTS, parse_multipart


def part(disposition: bytes, value: bytes, boundary: bytes = b"XX") -> bytes:
    head = b"Content-Disposition: form-data" + disposition
    return b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


def test_fields_files_and_repeats() -> None:
    body = (
        b"preamble\r\n"
        + part(b'; name="a"', b"1")
        + part(b'; name="f"; filename="x.txt"\r\nContent-Type: text/plain', b"line\r\n--no")
        + part(b'; name="a"', b"2")
        + part(b'; name="q\\"uote"', b"3")
        + part(b"", b"no name")
        + b"--XX--\r\nepilogue"
    )
    assert parse_multipart(body, b'multipart/form-data; boundary="XX"') == {
        "a": ["1", "2"],
        "f": "line\r\n--no",
        'q"uote': "3",
    }


def test_lines_of_a_bare_lf() -> None:
    body = part(b'; name="a"', b"1") + part(b'; name="b"', b"2") + b"--XX--\r\n"
    found = parse_multipart(body.replace(b"\r\n", b"\n"), b"multipart/form-data; boundary=XX")
    assert found == {"a": "1", "b": "2"}


@pytest.mark.parametrize("kind", [b"", b"multipart/form-data", b"multipart/form-data; boundary="])
def test_without_a_boundary_there_are_no_fields(kind: bytes) -> None:
    assert parse_multipart(part(b'; name="a"', b"1"), kind) is None


def test_the_number_of_parts_is_bounded() -> None:
    body = b"".join(part(b'; name="%d"' % n, b"") for n in range(MAX_PARTS + 50)) + b"--XX--"
    found = parse_multipart(body, b"multipart/form-data; boundary=XX")
    assert found is not None
    assert len(found) == MAX_PARTS


@given(st.binary(), st.binary(max_size=80))
def test_any_body_is_read_without_error(body: bytes, boundary: bytes) -> None:
    parse_multipart(body, b"multipart/form-data; boundary=" + boundary)
