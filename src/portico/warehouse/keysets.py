"""GoogleSQL's functions of encryption by keysets: Tink's keysets, and ciphertexts that Tink reads.

A keyset is a serialized google.crypto.tink.Keyset. A ciphertext begins with 1 and the key's number in four bytes,
unless the key is a raw one; then come 12 bytes of nonce and what AES-GCM makes, or what AES-SIV makes (RFC 5297).
https://cloud.google.com/bigquery/docs/reference/standard-sql/aead_encryption_functions
https://developers.google.com/tink/wire-format
"""

from __future__ import annotations

import functools
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message

_PACKAGE = "google.crypto.tink"
_URL = f"type.googleapis.com/{_PACKAGE}."
_GCM, _SIV = "AesGcmKey", "AesSivKey"
_NONCE = 12  # bytes
_NEW = {"AEAD_AES_GCM_256": (_GCM, 32), "DETERMINISTIC_AEAD_AES_SIV_CMAC_256": (_SIV, 64)}
_ENABLED, _SYMMETRIC, _TINK, _RAW = 1, 1, 1, 3
_ENUMS = {
    "KeyStatusType": ["UNKNOWN_STATUS", "ENABLED", "DISABLED", "DESTROYED"],
    "OutputPrefixType": ["UNKNOWN_PREFIX", "TINK", "LEGACY", "RAW", "CRUNCHY"],
    "KeyMaterialType": ["UNKNOWN_KEYMATERIAL", "SYMMETRIC", "ASYMMETRIC_PRIVATE", "ASYMMETRIC_PUBLIC", "REMOTE"],
}  # fmt: skip
_FIELDS = {  # by number, with their types
    "Keyset": {1: ("primary_key_id", "uint32"), 2: ("key", "*Key")},
    "Key": {1: ("key_data", "KeyData"), 2: ("status", "KeyStatusType"), 3: ("key_id", "uint32"),
            4: ("output_prefix_type", "OutputPrefixType")},
    "KeyData": {1: ("type_url", "string"), 2: ("value", "bytes"), 3: ("key_material_type", "KeyMaterialType")},
    _GCM: {1: ("version", "uint32"), 3: ("key_value", "bytes")},
    _SIV: {1: ("version", "uint32"), 2: ("key_value", "bytes")},
}  # fmt: skip


@functools.cache
def _messages() -> dict[str, type[Message]]:
    """Tink's messages: https://github.com/tink-crypto/tink/blob/master/proto/tink.proto"""
    of = descriptor_pb2.FieldDescriptorProto
    plain = {"uint32": of.TYPE_UINT32, "string": of.TYPE_STRING, "bytes": of.TYPE_BYTES}
    file = descriptor_pb2.FileDescriptorProto(name="tink.proto", package=_PACKAGE, syntax="proto3")
    for name, words in _ENUMS.items():
        made = file.enum_type.add(name=name)
        for number, word in enumerate(words):
            made.value.add(name=word, number=number)
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in fields.items():
            bare = kind.removeprefix("*")
            one = message.field.add(name=field, number=number)
            one.label = of.LABEL_OPTIONAL if bare == kind else of.LABEL_REPEATED
            one.type = plain.get(bare) or (of.TYPE_ENUM if bare in _ENUMS else of.TYPE_MESSAGE)
            if bare not in plain:
                one.type_name = f".{_PACKAGE}.{bare}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    described = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _FIELDS}
    return {name: message_factory.GetMessageClass(one) for name, one in described.items()}


def _keyset(data: bytes) -> Any:
    found: Any = _messages()["Keyset"]()
    try:
        found.ParseFromString(data)
    except DecodeError:
        raise ValueError(
            "Keyset deserialization failed: Error reading keyset data: Could not parse the input stream as a "
            "Keyset-proto."
        ) from None
    if not found.key:
        raise ValueError("Keyset deserialization failed: the keyset has no key")
    return found


def _added(keyset: Any, kind: str, value: bytes, prefix: int) -> int:
    """Adds a key of a number of its own, which it returns."""
    known = {one.key_id for one in keyset.key}
    number = secrets.randbelow((1 << 32) - 1) + 1
    while number in known:
        number = secrets.randbelow((1 << 32) - 1) + 1
    key = _messages()[kind](key_value=value)
    keyset.key.add(
        key_data={"type_url": _URL + kind, "value": key.SerializeToString(), "key_material_type": _SYMMETRIC},
        status=_ENABLED, key_id=number, output_prefix_type=prefix,
    )  # fmt: skip
    return number


def _with_new(keyset: Any, kind: str) -> bytes:
    """The keyset with another key, which is its primary one."""
    if kind not in _NEW:
        raise ValueError(f"Unsupported key type {kind}: it is {' or '.join(_NEW)}")
    name, size = _NEW[kind]
    keyset.primary_key_id = _added(keyset, name, secrets.token_bytes(size), _TINK)
    return bytes(keyset.SerializeToString())


def new_keyset(kind: str) -> bytes:
    return _with_new(_messages()["Keyset"](), kind)


def rotated(data: bytes, kind: str) -> bytes:
    return _with_new(_keyset(data), kind)


def with_raw_key(data: bytes, kind: str, value: bytes) -> bytes:
    keyset = _keyset(data)
    if kind != "AES_GCM":
        raise ValueError(f"Unsupported key type {kind}: it is AES_GCM")
    if len(value) not in (16, 32):
        raise ValueError(f"An AES_GCM key has 16 or 32 bytes, not {len(value)}")
    _added(keyset, _GCM, value, _RAW)
    return bytes(keyset.SerializeToString())


def from_json(text: str) -> bytes:
    try:
        found = json_format.Parse(text, _messages()["Keyset"]())
    except (json_format.ParseError, RecursionError) as error:
        raise ValueError(f"The keyset is no JSON of a google.crypto.tink.Keyset: {error}") from None
    return bytes(found.SerializeToString())


def to_json(data: bytes) -> str:
    return json.dumps(json_format.MessageToDict(_keyset(data)), sort_keys=True, separators=(",", ":"))


def length(data: bytes) -> int:
    return len(_keyset(data).key)


# --- encryption ------------------------------------------------------------------------------------------


def _cipher(key: Any, kind: str) -> Any:
    """What encrypts by a key.

    Raises:
        ValueError: it is of another kind.
    """
    from cryptography.hazmat.primitives.ciphers import aead

    if key.key_data.type_url != _URL + kind:
        raise ValueError(f"The key {key.key_id} is of type {key.key_data.type_url}, not {_URL}{kind}")
    held: Any = _messages()[kind]()
    try:
        held.ParseFromString(key.key_data.value)
        return aead.AESGCM(held.key_value) if kind == _GCM else aead.AESSIV(held.key_value)
    except (DecodeError, ValueError):
        raise ValueError(f"The key {key.key_id} can't be read") from None


def _prefix(key: Any) -> bytes:
    """
    Raises:
        ValueError: it has a prefix that BigQuery does not know.
    """
    if key.output_prefix_type not in (_TINK, _RAW):
        raise ValueError(f"The output prefix of the key {key.key_id} is neither TINK nor RAW")
    return b"" if key.output_prefix_type == _RAW else b"\x01" + key.key_id.to_bytes(4, "big")


def _primary(data: bytes) -> Any:
    keyset = _keyset(data)
    for key in keyset.key:
        if key.key_id == keyset.primary_key_id and key.status == _ENABLED:
            return key
    raise ValueError("The keyset has no primary key that is enabled")


def encrypted(data: bytes, plain: bytes, additional: bytes) -> bytes:
    key, nonce = _primary(data), secrets.token_bytes(_NONCE)
    return bytes(_prefix(key) + nonce + _cipher(key, _GCM).encrypt(nonce, plain, additional))


def encrypted_alike(data: bytes, plain: bytes, additional: bytes) -> bytes:
    key = _primary(data)
    return bytes(_prefix(key) + _cipher(key, _SIV).encrypt(plain, [additional]))


def _candidates(data: bytes, kind: str, sealed: bytes) -> Iterator[tuple[Any, bytes]]:
    """The keys that may have made a ciphertext, those with a prefix first, and what each has made."""
    keys = [key for key in _keyset(data).key if key.status == _ENABLED]
    for key in sorted(keys, key=lambda one: one.output_prefix_type == _RAW):
        prefix = _prefix(key)
        if sealed.startswith(prefix):
            yield _cipher(key, kind), sealed[len(prefix) :]


def _opened(kind: str) -> Callable[[bytes, bytes, bytes], bytes]:
    def opened(data: bytes, sealed: bytes, additional: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        for cipher, body in _candidates(data, kind, sealed):
            try:
                if kind == _GCM:
                    return bytes(cipher.decrypt(body[:_NONCE], body[_NONCE:], additional))
                return bytes(cipher.decrypt(body, [additional]))
            except (InvalidTag, ValueError):  # ValueError: it is too short
                continue
        raise ValueError("decryption failed")

    return opened


def _text(opened: Callable[[bytes, bytes, bytes], bytes]) -> Callable[[bytes, bytes, bytes], str]:
    def text(data: bytes, sealed: bytes, additional: bytes) -> str:
        try:
            return opened(data, sealed, additional).decode()
        except UnicodeDecodeError:
            raise ValueError("the plaintext is no valid UTF-8") from None

    return text


def _failing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose refusals say which it was."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except ValueError as error:
            raise ValueError(f"{name} failed: {error}") from None

    return wrapped


_open, _open_alike = _opened(_GCM), _opened(_SIV)
_THREE = ["BLOB", "BLOB", "BLOB"]
_BY_NAME: dict[str, tuple[Callable[..., Any], list[str], str]] = {
    "KEYS.NEW_KEYSET": (new_keyset, ["VARCHAR"], "BLOB"),
    "KEYS.ROTATE_KEYSET": (rotated, ["BLOB", "VARCHAR"], "BLOB"),
    "KEYS.ADD_KEY_FROM_RAW_BYTES": (with_raw_key, ["BLOB", "VARCHAR", "BLOB"], "BLOB"),
    "KEYS.KEYSET_FROM_JSON": (from_json, ["VARCHAR"], "BLOB"),
    "KEYS.KEYSET_TO_JSON": (to_json, ["BLOB"], "VARCHAR"),
    "KEYS.KEYSET_LENGTH": (length, ["BLOB"], "BIGINT"),
    "AEAD.ENCRYPT": (encrypted, _THREE, "BLOB"),
    "AEAD.DECRYPT_BYTES": (_open, _THREE, "BLOB"),
    "AEAD.DECRYPT_STRING": (_text(_open), _THREE, "VARCHAR"),
    "DETERMINISTIC_ENCRYPT": (encrypted_alike, _THREE, "BLOB"),
    "DETERMINISTIC_DECRYPT_BYTES": (_open_alike, _THREE, "BLOB"),
    "DETERMINISTIC_DECRYPT_STRING": (_text(_open_alike), _THREE, "VARCHAR"),
}
KEYSET_FUNCTIONS = {
    name.lower().replace(".", "__"): (_failing(name, function), takes, gives)
    for name, (function, takes, gives) in _BY_NAME.items()
}
"""By name: what does it, and DuckDB's types of what goes in and comes out."""
RANDOM = frozenset(
    ["keys__new_keyset", "keys__rotate_keyset", "keys__add_key_from_raw_bytes", "aead__encrypt"]
)
"""Those that give something else for each row."""
