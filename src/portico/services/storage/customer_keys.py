"""Customer-supplied encryption keys: what a request's headers say of them, and which objects they fit.

https://cloud.google.com/storage/docs/encryption/customer-supplied-keys, .../json_api/v1/status-codes
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from portico.errors import InvalidArgument, Unimplemented
from portico.store.objects import files
from portico.store.objects.generations import SEALED, ObjectRow
from portico.store.objects.sealing import Sealed

PREFIX: Final = "x-goog-encryption-"
SOURCE: Final = "x-goog-copy-source-encryption-"
_LENGTH: Final = 32  # bytes
_MANAGED: Final = ("kmsKeyName", "destinationKmsKeyName")


@dataclass(frozen=True, slots=True)
class CustomerKey:
    """A key of 32 bytes, for as long as its request is served."""

    key: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        return base64.b64encode(hashlib.sha256(self.key).digest()).decode()

    @property
    def fields(self) -> dict[str, Any]:
        """What an object under it says of it."""
        return {SEALED: {"encryptionAlgorithm": "AES256", "keySha256": self.sha256}}

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What an answer says of it."""
        return [(b"x-goog-encryption-algorithm", b"AES256"),
                (b"x-goog-encryption-key-sha256", self.sha256.encode())]  # fmt: skip


def read(headers: Mapping[str, str], prefix: str = PREFIX) -> CustomerKey | None:
    """The key that a request has, with the `prefix` SOURCE that of a copy's source; None where it has none.

    Raises:
        InvalidArgument: it is not whole, or not right. Unimplemented: it is one that Google manages.
    """
    if f"{prefix}kms-key-name" in headers:
        raise Unimplemented(
            f"{prefix}kms-key-name is not built in Portico, which has no Cloud KMS: supply a key of your own "
            f"({prefix}key), or none."
        )
    if not any(name.startswith(prefix) for name in headers):
        return None
    if headers.get(f"{prefix}algorithm", "").upper() != "AES256":
        raise _wrong(
            "Missing an encryption algorithm, or the provided algorithm is not AES256.",
            "customerEncryptionAlgorithmIsInvalid",
        )
    key = _decoded(headers.get(f"{prefix}key", ""))
    if len(key) != _LENGTH:
        raise _wrong(
            "Missing an encryption key, or it is not Base64 encoded, or it does not meet the required length of the "
            "encryption algorithm: it has 32 bytes.",
            "customerEncryptionKeyFormatIsInvalid",
        )
    if _decoded(headers.get(f"{prefix}key-sha256", "")) != hashlib.sha256(key).digest():
        raise _wrong(
            "Missing a SHA256 hash of the encryption key, or it is not Base64 encoded, or it does not match the "
            "encryption key.",
            "customerEncryptionKeySha256IsInvalid",
        )
    return CustomerKey(key)


def refuse_managed(params: Mapping[str, Any]) -> None:
    """Data would be stored under another key than asked for, so whoever asks is told so.

    Raises:
        Unimplemented
    """
    if asked := next((name for name in _MANAGED if params.get(name)), None):
        raise Unimplemented(f"Encryption under a key of Cloud KMS is not built in Portico: send no {asked}.")


def check(fields: Mapping[str, Any], key: CustomerKey | None, *, needed: bool = True) -> None:
    """Whether the key is that of an object with these fields; what is not `needed` may be left out.

    Raises:
        InvalidArgument
    """
    held = fields.get(SEALED)
    if held is None:
        if key is not None:
            raise _wrong(
                "The target object is not encrypted by a customer-supplied encryption key.",
                "resourceNotEncryptedWithCustomerEncryptionKey",
            )
    elif key is None:
        if needed:
            raise _wrong(
                "The target object is encrypted by a customer-supplied encryption key.",
                "resourceIsEncryptedWithCustomerEncryptionKey",
            )
    elif held["keySha256"] != key.sha256:
        raise _wrong("The provided encryption key is incorrect.", "customerEncryptionKeyIsIncorrect")


def with_sums(home: Path, row: ObjectRow, key: CustomerKey | None) -> ObjectRow:
    """The object with its checksums, where it is under the key; as it is, where no key is given, or its file is gone.

    Raises:
        InvalidArgument: as `check`.
    """
    check(row.fields, key, needed=False)
    if key is None:
        return row
    try:
        fd = os.open(files.path_of(home, row.file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return row
    try:
        sealed = Sealed(fd, key.key)
    finally:
        os.close(fd)
    return replace(row, crc32c=sealed.crc32c, md5=sealed.md5)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _wrong(message: str, reason: str) -> InvalidArgument:
    return InvalidArgument(message, reason=reason)
