"""Headers that hold credentials, read so that what is checked is what goes upstream."""

from __future__ import annotations

from ..errors import DownstreamError
from ..http.headers import Headers


def sole(headers: Headers, name: bytes) -> bytes | None:
    """Return the value of a header, None without one.

    Raises DownstreamError (400) when it is repeated: one line would be checked, and all of them
    forwarded. nginx answers several lines of Authorization so.
    """
    lines = headers.getlist(name)
    if len(lines) > 1:
        raise DownstreamError(f"{name.decode('latin-1')} is there {len(lines)} times")
    return lines[0] if lines else None
