"""The certificate and key in a listener's own files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import SchemaError
from ..settings import Settings
from ..tls.contexts import base_context, load_pair


def judge_files(settings: Settings) -> Iterator[SchemaError]:
    """Yield what keeps the listeners' own certificates from being shown, as files are now."""
    for index, listener in enumerate(settings.listeners):
        tls = listener.tls
        if tls is None or tls.cert_path is None:
            continue
        try:
            own = read_own(tls.cert_path, tls.key_path or "")
            load_pair(base_context(()), *own, "tls.cert_path")
        except SchemaError as error:
            # What is wrong with a pair is told of its certificate, whichever it is.
            at = "tls.key_path" if error.message.startswith("failed to parse key") else error.path
            yield SchemaError(error.message, kind="pingsix", path=f"listeners.{index}.{at}")


def read_own(cert_path: str, key_path: str) -> tuple[str, str]:
    """Read a listener's certificate and key as text. Raises SchemaError naming the field."""
    return _read(cert_path, "cert_path"), _read(key_path, "key_path")


def _read(path: str, field: str) -> str:
    try:
        text = Path(path).read_text("utf-8", errors="replace")
    except OSError as error:
        fault = f"cannot read {path}: {error.strerror or error}"
    else:
        if "-----BEGIN " in text:
            return text
        fault = f"{path} is not a PEM file"
    raise SchemaError(fault, kind="pingsix", path=f"tls.{field}")
