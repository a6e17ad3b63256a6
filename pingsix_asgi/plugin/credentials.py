"""Headers that hold credentials, read so that what is checked is what goes upstream."""

from __future__ import annotations

from ..errors import DownstreamError
from ..http.headers import Headers


def sole(headers: Headers, name: bytes) -> bytes | None:
    """Return the value of a header, None without one.

    Raises DownstreamError (400) when it is repeated: one line would be checked, and all of them
    forwarded. nginx answers several lines of Authorization so.
    """
    found = None
    for key, value in headers.raw:
        if key == name:
            if found is not None:
                raise DownstreamError(f"several {name.decode('latin-1')} fields")
            found = value
    return found
