"""multipart/form-data bodies (RFC 7578), as far as their text fields go."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .query import by_name

MAX_PARTS = 1000
"""Fields read from one body; what follows is ignored."""

_BOUNDARY = re.compile(rb';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb';\s*name="((?:[^"\\\r\n]|\\.)*)"', re.IGNORECASE)


def parse_multipart(body: bytes, content_type: bytes) -> dict[str, str | list[str]] | None:
    """Return the fields by name, a list for a repeated one; None when there is no boundary.

    Files are fields too. Text that is not UTF-8 is kept as surrogate escapes.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        return None
    mark = b"--" + (found[1] or found[2])
    if b"\r\n" not in body:  # lines of a bare LF are read, as APISIX does
        body = body.replace(b"\n", b"\r\n")
    return by_name(_fields(body, mark))


def _fields(body: bytes, mark: bytes) -> Iterator[tuple[str, str]]:
    for part in (b"\r\n" + body).split(b"\r\n" + mark, MAX_PARTS + 1)[1 : MAX_PARTS + 1]:
        if part.startswith(b"--"):
            break
        head, blank, value = part.partition(b"\r\n\r\n")
        name = _name_of(head) if blank else None
        if name is not None:
            yield name, value.decode("utf-8", "surrogateescape")


def _name_of(head: bytes) -> str | None:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition":
            found = _NAME.search(value)
            if found is not None:
                return re.sub(rb"\\(.)", rb"\1", found[1]).decode("utf-8", "surrogateescape")
    return None
