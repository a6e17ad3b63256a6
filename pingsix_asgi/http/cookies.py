"""Request cookies (RFC 6265 §4.2): names are case-sensitive, values are taken as they are.

Of several cookies with one name the first counts, over all Cookie lines: clients send the one with
the most specific path first.
"""

from __future__ import annotations

from .headers import Headers


def cookie(headers: Headers, name: str) -> str | None:
    """Return the value of the cookie ``name``, or None."""
    wanted = name.encode("utf-8", "surrogateescape")
    for key, line in headers.raw:
        if key == b"cookie" and wanted in line:
            for crumb in line.split(b";"):
                if wanted in crumb and b"=" in crumb:
                    found, value = _split(crumb)
                    if found == wanted:
                        return value.decode("utf-8", "surrogateescape")
    return None


def without_cookie(headers: Headers, name: str) -> None:
    """Take every cookie ``name`` out of the headers; a Cookie line that is left empty goes too."""
    wanted = name.encode("utf-8", "surrogateescape")
    lines = headers.getlist(b"cookie")
    if not any(wanted in line for line in lines):
        return
    headers.remove(b"cookie")
    for line in lines:
        crumbs = [part.strip(b" \t") for part in line.split(b";")]
        kept = [crumb for crumb in crumbs if crumb and _split(crumb)[0] != wanted]
        if kept:
            headers.append(b"cookie", b"; ".join(kept))


def _split(crumb: bytes) -> tuple[bytes, bytes]:
    name, _, value = crumb.partition(b"=")
    return name.strip(b" \t"), value.strip(b" \t")
