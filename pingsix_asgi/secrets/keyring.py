"""Encryption of single values at rest.

Written values use PingSIX's envelope: ``$pingsix-enc:v1$`` + base64(nonce 12 ‖ AES-256-GCM
ciphertext ‖ tag 16), keyed by Argon2id over a keyring entry. Values written by APISIX (bare base64
of AES-CBC) are read as well. The first entry encrypts, every entry is tried for decryption, so a
key is rotated by putting the new one in front and writing each resource once more.

Source: spec of PingSIX src/utils/encryption.rs and APISIX apisix/ssl.lua.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence

from cachetools import LRUCache

from ..errors import ConfigError
from .fields import ENVELOPE as PREFIX

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
    from cryptography.hazmat.primitives.padding import PKCS7
except ImportError as error:  # pragma: no cover - the message is the behaviour
    raise ConfigError("data_encryption needs the extra pingsix-asgi[crypto]") from error

_ENVELOPE = PREFIX + "v1$"
_SALT = b"pingsix::data_encryption::v1"
_NONCE_BYTES, _TAG_BYTES = 12, 16
_CACHED_VALUES = 4096
"""Decrypted values remembered, so that rebuilding a configuration costs no cryptography."""


class DecryptionError(ConfigError):
    """A value is damaged, of an unknown version, or encrypted with a key not in the keyring."""


class Keyring:
    """The keys of ``data_encryption.keyring``; the first one is current.

    Raises ConfigError when ``entries`` is empty or has an empty entry.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        if not entries or not all(entries):
            raise ConfigError("data_encryption.keyring: needs at least one key, none of them empty")
        self._sealed = [AESGCM(_derive(entry)) for entry in entries]
        self._cbc_keys = [key for entry in entries if len(key := entry.encode()) in (16, 32)]
        self._opened: LRUCache[str, str] = LRUCache(_CACHED_VALUES)

    def encrypt(self, value: str) -> str:
        """Return the envelope of ``value``; an envelope is returned as it is."""
        if value.startswith(PREFIX):
            return value
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._sealed[0].encrypt(nonce, value.encode(), None)
        return _ENVELOPE + base64.b64encode(nonce + sealed).decode()

    def decrypt(self, value: str) -> str:
        """Return the plain text of an envelope or of an APISIX value; plain text stays as it is.

        Raises DecryptionError for an envelope that no key opens.
        """
        if not value.startswith(PREFIX):
            return self._decrypt_cbc(value)
        known = self._opened.get(value)
        if known is None:
            known = self._opened[value] = self._open(value)
        return known

    def _open(self, value: str) -> str:
        if not value.startswith(_ENVELOPE):
            raise DecryptionError(f"unknown encryption version {value[:20]!r}")
        try:
            blob = base64.b64decode(value[len(_ENVELOPE) :], validate=True)
        except binascii.Error:
            raise DecryptionError("encrypted value is not base64") from None
        if len(blob) < _NONCE_BYTES + _TAG_BYTES:
            raise DecryptionError("encrypted value is too short")
        for sealed in self._sealed:
            try:
                return sealed.decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], None).decode()
            except InvalidTag:
                continue
        raise DecryptionError("no key of data_encryption.keyring opens the encrypted value")

    def _decrypt_cbc(self, value: str) -> str:
        """Try APISIX's format; anything that does not decrypt cleanly is taken as plain text."""
        try:
            blob = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return value
        if not blob or len(blob) % 16:
            return value
        for key in self._cbc_keys:
            decryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
            padded = decryptor.update(blob) + decryptor.finalize()
            unpadder = PKCS7(128).unpadder()
            try:
                return (unpadder.update(padded) + unpadder.finalize()).decode()
            except ValueError:
                continue
        return value


def _derive(entry: str) -> bytes:
    return Argon2id(salt=_SALT, length=32, iterations=2, lanes=1, memory_cost=19456).derive(
        entry.encode()
    )
