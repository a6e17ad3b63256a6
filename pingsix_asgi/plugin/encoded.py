"""Base64 that clients and confs hold, read as nginx reads it."""

from __future__ import annotations

import base64


def from_base64(text: str) -> bytes:
    """Decode standard base64 whose padding may be missing. Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
